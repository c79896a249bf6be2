import type { KeyObject } from 'node:crypto';
import { publicBlob, publicLine, typeOfBlob } from './key-type.ts';
import { encodePrivateKey } from './private-key.ts';
import type { KeyMaterial } from './store-files.ts';

/**
 * A key in the store's format. An RSA key without a passphrase is PKCS#1 PEM, the only format that CloudWorkstation and
 * Prism read. Every other key has OpenSSH's format, which has the strongest key derivation.
 */
export async function materialOf(
  key: KeyObject,
  comment: string,
  passphrase?: string | undefined,
): Promise<KeyMaterial> {
  const blob = publicBlob(key);
  const format = key.asymmetricKeyType === 'rsa' && passphrase === undefined ? 'pem' : 'openssh';
  return {
    privateKey: await encodePrivateKey(key, format, { passphrase, comment }),
    publicKey: publicLine(blob, comment),
    type: typeOfBlob(blob),
  };
}
