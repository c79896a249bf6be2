/** The signature algorithms of plain keys, with their key types and hashes. */
import { MintError } from '../errors.ts';
import { mldsa44Ed25519 } from './mldsa44-ed25519.ts';

interface Algorithm {
  /** The type in the key blob. */
  readonly keyType: string;
  /** The hash over the signed data; undefined if the scheme has its own. */
  readonly hash: string | undefined;
}

/** RFC 8709 (Ed25519), RFC 5656 (ECDSA), RFC 8332 (RSA, without the SHA-1 of plain `ssh-rsa`), and OpenSSH's composite type. */
const algorithms: ReadonlyMap<string, Algorithm> = new Map([
  ['ssh-ed25519', { keyType: 'ssh-ed25519', hash: undefined }],
  ['ecdsa-sha2-nistp256', { keyType: 'ecdsa-sha2-nistp256', hash: 'sha256' }],
  ['ecdsa-sha2-nistp384', { keyType: 'ecdsa-sha2-nistp384', hash: 'sha384' }],
  ['ecdsa-sha2-nistp521', { keyType: 'ecdsa-sha2-nistp521', hash: 'sha512' }],
  ['rsa-sha2-256', { keyType: 'ssh-rsa', hash: 'sha256' }],
  ['rsa-sha2-512', { keyType: 'ssh-rsa', hash: 'sha512' }],
  [mldsa44Ed25519, { keyType: mldsa44Ed25519, hash: undefined }],
]);

/** The types of host keys that can be pinned: plain keys whose signatures can be verified. */
export const verifiableKeyTypes: ReadonlySet<string> = new Set(
  [...algorithms.values()].map(({ keyType }) => keyType),
);

/**
 * @param algorithm the name in a signature blob
 * @param keyType the type in the key blob
 * @returns the hash over the signed data; undefined if the algorithm does not belong to the key type, or prescribes no
 *   separate hash
 */
export function hashOf(algorithm: string, keyType: string): string | undefined {
  const found = algorithms.get(algorithm);
  return found?.keyType === keyType ? found.hash : undefined;
}

/**
 * @param algorithm a negotiated host key algorithm
 * @returns the key type that it belongs to
 * @throws MintError `host-key-type` for certificates, hardware keys, DSA and SHA-1
 */
export function keyTypeOf(algorithm: string): string {
  const type = algorithms.get(algorithm)?.keyType;
  if (type !== undefined) return type;
  const name = algorithm.slice(0, 64);
  throw new MintError(
    'host-key-type',
    name.includes('-cert-v01@')
      ? `the server presents a host certificate (${name}), and mint-ssh pins plain host keys`
      : `host keys of this algorithm cannot be verified (${name})`,
    { hint: 'choose another algorithm: ssh -o HostKeyAlgorithms=ssh-ed25519' },
  );
}
