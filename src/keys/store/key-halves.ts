/** The public half of a key, as its own files say it. */
import { MintError } from '../../errors.ts';
import type { RotationKey } from './journal.ts';
import { parseKeyFile } from './key-file.ts';
import { readPrivateKey, readPublicKey } from './key-store.ts';
import { blobOfLine, publicBlob } from './key-type.ts';
import { openKeyFile } from './private-key.ts';

/** Of the private key; undefined where only its passphrase would tell, an error where it is no good. */
export async function publicHalf(
  directory: string,
  name: string,
  role?: RotationKey,
): Promise<Buffer | undefined | MintError> {
  try {
    const file = parseKeyFile(readPrivateKey(directory, name, role));
    if (file.encrypted) return file.publicBlob;
    return publicBlob(await openKeyFile(file, undefined));
  } catch (error) {
    if (error instanceof MintError) return error;
    throw error;
  }
}

/** Of the `.pub` beside it; undefined where there is none, or a damaged one. */
export function blobInFile(directory: string, name: string, role?: RotationKey): Buffer | undefined {
  try {
    return blobOfLine(readPublicKey(directory, name, role));
  } catch (error) {
    if (error instanceof MintError) return undefined;
    throw error;
  }
}
