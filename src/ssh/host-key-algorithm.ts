/** Which host key algorithms we can judge: the key must be pinned and its signature verified. */
import { MintError } from '../errors.ts';
import { mldsa44Ed25519 } from './mldsa44-ed25519.ts';

/** By negotiated algorithm, the type that the key itself names; RFC 8332 gave RSA two algorithms. */
const keyTypes: ReadonlyMap<string, string> = new Map([
  ['ssh-ed25519', 'ssh-ed25519'],
  ['ecdsa-sha2-nistp256', 'ecdsa-sha2-nistp256'],
  ['ecdsa-sha2-nistp384', 'ecdsa-sha2-nistp384'],
  ['ecdsa-sha2-nistp521', 'ecdsa-sha2-nistp521'],
  ['rsa-sha2-256', 'ssh-rsa'],
  ['rsa-sha2-512', 'ssh-rsa'],
  [mldsa44Ed25519, mldsa44Ed25519],
]);

/**
 * The key type that belongs to a host key algorithm.
 *
 * @throws MintError `host-key-type` for certificates, hardware keys, DSA and SHA-1
 */
export function keyTypeOf(algorithm: string): string {
  const type = keyTypes.get(algorithm);
  if (type !== undefined) return type;
  const name = algorithm.slice(0, 64);
  throw new MintError(
    'host-key-type',
    name.includes('-cert-v01@')
      ? `the server shows a host certificate (${name}), and trust here is in plain host keys`
      : `the server's host key is of a kind that cannot be verified (${name})`,
    { hint: 'choose another kind: ssh -o HostKeyAlgorithms=ssh-ed25519' },
  );
}
