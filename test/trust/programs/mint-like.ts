/**
 * Writes the file as Mint does: reads it, keeps what its parser understands, adds a line of its own,
 * truncates the file and writes it in place, without a lock. Slower than Mint, so that others find it empty.
 * Arguments: the file, the name of its VMs, how many, and `torn` to write in two pieces: only for a Mint
 * that is alone, since the second piece would leave a hole behind another's truncation.
 */
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';

const [file = '', name = '', count = '0', manner] = process.argv.slice(2);

/** The store waits 200 ms for a write of Mint's. On a busy machine ours may take longer: it is then made again. */
const longestWriteMs = 100;
let isLate = false;

for (let number = 0; number < Number(count); number += isLate ? 0 : 1) {
  const startedAt = performance.now();
  const pins = readPins();
  for (let each = isLate ? 0 : number; each <= number; each += 1)
    pins.set(`${name}-${each}`, `SHA256:${'m'.repeat(43)}`);
  const bytes = Buffer.from([...pins].map(([vm, value]) => `${vm}=${value}\n`).join(''), 'latin1');
  const cut = manner === 'torn' ? bytes.length >> 1 : bytes.length;
  const descriptor = openSync(file, 'w', 0o600);
  pause(2);
  writeSync(descriptor, bytes, 0, cut);
  if (manner === 'torn') pause(2);
  writeSync(descriptor, bytes, cut);
  closeSync(descriptor);
  isLate = performance.now() - startedAt > longestWriteMs;
  pause(manner === 'torn' ? 400 : 20);
}

function readPins(): Map<string, string> {
  const lines = readText()
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => !line.startsWith('#') && line.includes('='));
  return new Map(lines.map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]));
}

function readText(): string {
  try {
    return readFileSync(file, 'latin1');
  } catch {
    return '';
  }
}

function pause(milliseconds: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
}
