import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { homeDirectory, type Paths } from '../../platform/paths.ts';
import { metadataFile } from './store-files.ts';

/** The stores of older systems, relative to the home directory. */
const olderStores = ['.cloudworkstation/keys', '.prism/keys'];

/**
 * The directory with the managed keys: `--store`, else `$MINT_KEYS_DIR`, else `keys` in the configuration
 * directory. If that has no keys and the store of an older system has some, the older store is used.
 */
export function keyStoreDirectory(
  paths: Pick<Paths, 'keys'>,
  flag: string | undefined,
  environment: NodeJS.ProcessEnv = process.env,
): string {
  const named = flag || environment['MINT_KEYS_DIR'];
  if (named) return resolve(named);
  const home = homeDirectory(environment);
  const older = olderStores.map((name) => join(home, name));
  const inUse = [paths.keys, ...older].find((directory) => existsSync(join(directory, metadataFile)));
  return inUse ?? paths.keys;
}
