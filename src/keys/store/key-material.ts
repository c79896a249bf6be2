import type { KeyObject } from 'node:crypto';
import { publicBlob, publicLine, typeOfBlob } from './key-type.ts';
import { encodePrivateKey } from './private-key.ts';
import type { KeyMaterial } from './store-files.ts';

/**
 * A key as the store keeps it. An RSA key without a passphrase is PKCS#1 PEM, the only format that CloudWorkstation
 * and Prism read; every other key is in OpenSSH's own format, whose key derivation is the strongest of all.
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
