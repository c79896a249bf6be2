import type { KeyObject } from 'node:crypto';
import type { KeyMaterial } from './key-store.ts';
import { publicBlob, publicLine, typeOfBlob } from './key-type.ts';
import { encodePrivateKey } from './private-key.ts';

/** A key as the store has it: OpenSSH's own format, which every ssh reads. */
export async function materialOf(
  key: KeyObject,
  comment: string,
  passphrase?: string | undefined,
): Promise<KeyMaterial> {
  const blob = publicBlob(key);
  return {
    privateKey: await encodePrivateKey(key, 'openssh', { passphrase, comment }),
    publicKey: publicLine(blob, comment),
    type: typeOfBlob(blob),
  };
}
