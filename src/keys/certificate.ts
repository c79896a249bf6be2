/** The plain key inside an OpenSSH certificate (PROTOCOL.certkeys). */
import { encodeString, WireReader } from '../ssh/wire.ts';

/** How many strings after the nonce of the certificate belong to the key. */
const keyFields: Readonly<Record<string, number>> = {
  'ssh-rsa': 2,
  'ssh-ed25519': 1,
  'ecdsa-sha2-nistp256': 2,
  'ecdsa-sha2-nistp384': 2,
  'ecdsa-sha2-nistp521': 2,
  'sk-ssh-ed25519': 2,
  'sk-ecdsa-sha2-nistp256': 3,
};

export interface TypedBlob {
  readonly type: string;
  readonly blob: Buffer;
}

/** @param type the type of a key, such as `ssh-ed25519-cert-v01@openssh.com` */
export function isCertificate(type: string): boolean {
  return type.includes('-cert-v');
}

/**
 * @returns the plain key; undefined for an unknown kind of certificate
 * @throws MintError `not-ssh` if it is truncated
 */
export function keyOfCertificate({ type, blob }: TypedBlob): TypedBlob | undefined {
  const [, name = ''] = /^(.+)-cert-v01@openssh\.com$/.exec(type) ?? [];
  const count = Object.hasOwn(keyFields, name) ? keyFields[name] : undefined;
  if (count === undefined) return undefined;
  const plain = name.startsWith('sk-') ? `${name}@openssh.com` : name;
  const reader = new WireReader(blob);
  reader.string();
  reader.string();
  const fields = Array.from({ length: count }, () => encodeString(reader.string()));
  return { type: plain, blob: Buffer.concat([encodeString(plain), ...fields]) };
}
