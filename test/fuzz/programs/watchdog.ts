/** Ends the process where an input is parsed for too long, and keeps that input. */
import { writeFileSync, writeSync } from 'node:fs';
import { workerData } from 'node:worker_threads';
import { headerBytes, type SharedInput } from '../watch.ts';

/** In milliseconds. */
const limit = 30_000;

const { memory, file } = workerData as SharedInput;
const header = new Int32Array(memory, 0, 2);
for (let last = -1; ; ) {
  const count = Atomics.load(header, 0);
  if (count === last && count > 0) {
    writeFileSync(file, Buffer.from(new Uint8Array(memory, headerBytes, header[1]).slice()));
    writeSync(2, `fuzz: an input has no end: ${file}\n`);
    process.kill(process.pid, 'SIGKILL');
  }
  last = count;
  Atomics.wait(header, 0, count, limit);
}
