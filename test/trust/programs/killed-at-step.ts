/**
 * Preloaded (`--import`) under a program: kills it, as `kill -9` would, right before its call number
 * $KILL_AT of those that change something on the disk.
 */
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';

const killAt = Number(process.env['KILL_AT']);
let calls = 0;

for (const name of [
  'openSync',
  'writeSync',
  'fchmodSync',
  'fsyncSync',
  'renameSync',
  'unlinkSync',
] as const) {
  const original = fs[name] as (...values: unknown[]) => unknown;
  const stepped = (...values: unknown[]) => {
    if (!isHarmless(name, values)) {
      calls += 1;
      if (calls === killAt) process.kill(process.pid, 'SIGKILL');
    }
    return original.apply(fs, values);
  };
  Object.assign(fs, { [name]: stepped });
}
syncBuiltinESMExports();

/** Opening to read, and writing to stdout. */
function isHarmless(name: string, values: readonly unknown[]): boolean {
  if (name === 'openSync') return (Number(values[1]) & (fs.constants.O_WRONLY | fs.constants.O_RDWR)) === 0;
  return name === 'writeSync' && values[0] === 1;
}
