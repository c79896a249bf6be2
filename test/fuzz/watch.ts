/** Notices from another thread that an input has no end: the thread that parses it cannot. */
import { Worker } from 'node:worker_threads';

export interface Watch {
  /** This input is parsed now. */
  begin(input: Buffer): void;
  end(): Promise<void>;
}

/** What the two threads share: how many inputs there were, the length of this one, and its bytes. */
export interface SharedInput {
  readonly memory: SharedArrayBuffer;
  /** Where it is written when it has no end. */
  readonly file: string;
}

export const headerBytes = 8;

/** @param longest of an input, in bytes */
export function startWatch(file: string, longest: number): Watch {
  const memory = new SharedArrayBuffer(headerBytes + longest);
  const header = new Int32Array(memory, 0, 2);
  const bytes = new Uint8Array(memory, headerBytes);
  const shared: SharedInput = { memory, file };
  const worker = new Worker(new URL('programs/watchdog.ts', import.meta.url), { workerData: shared });
  worker.unref();
  return {
    begin(input) {
      // Seeds may be longer than what is made of them.
      const shown = input.subarray(0, longest);
      bytes.set(shown);
      header[1] = shown.length;
      Atomics.add(header, 0, 1);
    },
    async end() {
      await worker.terminate();
    },
  };
}
