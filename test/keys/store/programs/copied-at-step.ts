/**
 * Preloaded (`--import`) under a program: right before each call that changes something on the disk it copies the
 * directories of $COPY_OF (separated by colons) to $COPY_TO/1, $COPY_TO/2, … That is what a `kill -9` at this
 * moment would leave; with $KILL_AT, there is one at that call.
 */
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';

const [from, to] = [process.env['COPY_OF'] ?? '', process.env['COPY_TO'] ?? ''];
const killAt = Number(process.env['KILL_AT'] ?? 0);
let calls = 0;
let isCopying = false;

for (const name of ['openSync', 'writeSync', 'renameSync', 'unlinkSync'] as const) {
  const original = fs[name] as (...values: unknown[]) => unknown;
  const stepped = (...values: unknown[]) => {
    if (!isCopying && !isHarmless(name, values)) {
      calls += 1;
      if (calls === killAt) process.kill(process.pid, 'SIGKILL');
      if (to !== '') copy(join(to, String(calls)));
    }
    return original.apply(fs, values);
  };
  Object.assign(fs, { [name]: stepped });
}
syncBuiltinESMExports();

function copy(target: string): void {
  isCopying = true;
  for (const [at, directory] of from.split(':').entries()) {
    const place = join(target, String(at));
    fs.mkdirSync(place, { recursive: true, mode: 0o700 });
    fs.cpSync(directory, place, { recursive: true });
  }
  isCopying = false;
}

/** Opening to read, and writing to stdout and stderr. */
function isHarmless(name: string, values: readonly unknown[]): boolean {
  if (name === 'openSync') return (Number(values[1]) & (fs.constants.O_WRONLY | fs.constants.O_RDWR)) === 0;
  return name === 'writeSync' && (values[0] === 1 || values[0] === 2);
}
