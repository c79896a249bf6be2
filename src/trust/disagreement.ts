/** The errors of keys that do not fit together. Two fingerprints are always named, so that they can be compared. */
import { MintError } from '../errors.ts';
import type { HostKey } from '../ssh/hostkey.ts';
import type { Pin, Sighting } from './pin.ts';

/** Key type → what to ask the server for with HostKeyAlgorithms (RFC 8332 for RSA). */
const algorithms: ReadonlyMap<string, string> = new Map([
  ['ssh-ed25519', 'ssh-ed25519'],
  ['ecdsa-sha2-nistp256', 'ecdsa-sha2-nistp256'],
  ['ecdsa-sha2-nistp384', 'ecdsa-sha2-nistp384'],
  ['ecdsa-sha2-nistp521', 'ecdsa-sha2-nistp521'],
  ['ssh-rsa', 'rsa-sha2-512,rsa-sha2-256'],
]);

/** @throws MintError `host-key-type` for a type whose signatures we cannot verify: certificates, security keys, DSA */
export function refuseUnknownType({ vm, key }: Sighting): void {
  if (algorithms.has(key.type)) return;
  throw new MintError('host-key-type', `the server of "${vm}" presents a host key of type ${key.type}`, {
    hint: 'only plain keys are pinned: connect with -o HostKeyAlgorithms=ssh-ed25519',
  });
}

/** @throws MintError `host-key-type` when the pinned key is known to be of another type */
export function refuseOtherType({ vm, key }: Sighting, { type }: Pin): void {
  if (type === undefined || type === key.type) return;
  const message = `the server of "${vm}" presents its ${key.type} host key, and its ${type} key is pinned`;
  throw new MintError('host-key-type', message, {
    hint: `ask for the pinned type: -o HostKeyAlgorithms=${algorithms.get(type) ?? type} (what \`mint-ssh ssh-config\` writes asks for ssh-ed25519)`,
  });
}

export function otherPin(vm: string, pinned: string, presented: string): MintError {
  const message = `another host key of "${vm}" was pinned meanwhile: ${pinned}, not ${presented}`;
  return new MintError('host-key-changed', message, {
    hint: `\`mint-ssh hosts show ${vm}\` says what is pinned; connect again`,
  });
}

export function otherFirstKey(vm: string, standing: HostKey, presented: HostKey): MintError {
  const message = `"${vm}" shows two different host keys to connections that are open at once: ${standing.fingerprint} and ${presented.fingerprint}`;
  return new MintError('host-key-changed', message, {
    hint: 'neither is pinned yet: find out which one is the VM’s own before you connect again',
  });
}
