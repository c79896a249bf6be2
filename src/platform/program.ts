import { realpathSync } from 'node:fs';
import { join } from 'node:path';
import { isSea } from 'node:sea';

/**
 * The program as ssh is to start it: the single executable itself, else, when run from source, the one that
 * this checkout builds. Absolute.
 */
export function programPath(): string {
  if (isSea()) return process.execPath;
  const file = process.platform === 'win32' ? 'mint-ssh.exe' : 'mint-ssh';
  return join(realpathSync(join(import.meta.dirname, '..', '..')), 'dist', file);
}
