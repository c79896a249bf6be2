import { existsSync } from 'node:fs';

/** libfaketime, for LD_PRELOAD: what `faketime` itself would preload. */
export const library = installed();

function installed(): string {
  const found = ['x86_64-linux-gnu', 'aarch64-linux-gnu']
    .map((platform) => `/usr/lib/${platform}/faketime/libfaketime.so.1`)
    .find((path) => existsSync(path));
  if (found === undefined) throw new Error('libfaketime is not installed: apt-get install faketime');
  return found;
}
