/**
 * Programs that the tests run, each in its own process group so that nothing survives a test.
 *
 * All of it is asynchronous, and has to be: the cloud answers from the same process.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash, type Hash } from 'node:crypto';
import type { Readable, Writable } from 'node:stream';

export interface Result {
  /** The exit status; null if a signal ended it. */
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
  /** How long it ran, in milliseconds. */
  readonly milliseconds: number;
}

export interface RunOptions {
  /** What it reads from stdin; without it (and without `holdInput`) stdin is /dev/null. */
  readonly input?: string | Buffer | Readable;
  /** Leaves stdin open, as a terminal would; write to `child.stdin`. */
  readonly holdInput?: boolean;
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly cwd?: string;
  /** In milliseconds, times `patience`; 30 s by default. Then the whole group is killed and the run rejects. */
  readonly timeout?: number;
  /** Counts and hashes stdout instead of keeping it: `stdout` is then `<bytes> <sha256>`. */
  readonly hashOutput?: boolean;
}

export interface Child {
  readonly pid: number;
  readonly stdin: Writable;
  /** What it has written so far. */
  readonly stdout: string;
  readonly stderr: string;
  /** Resolves when it has ended and its output is closed; rejects at the time limit. */
  readonly done: Promise<Result>;
  /** Sends the signal to the whole group. */
  kill(signal?: NodeJS.Signals): void;
  /** Waits until stdout or stderr matches; rejects when the child ends first. */
  until(form: RegExp, milliseconds?: number): Promise<RegExpExecArray>;
}

/**
 * Time limits that catch a hang are written for a quiet machine, and multiplied by this: a busy one takes several times as
 * long. Shorter ones than a second are what a test is about, and stay.
 */
export const patience = 4;

function patient(milliseconds: number): number {
  return milliseconds < 1000 ? milliseconds : milliseconds * patience;
}

const running = new Set<ChildProcess>();
process.once('exit', () => {
  for (const child of running) killGroup(child, 'SIGKILL');
});
// The runner ends a hanging file with SIGTERM, whose default action would run no exit handler.
process.once('SIGTERM', () => process.exit(143));

/** Starts a program with exactly this environment. */
export function startChild(
  program: string,
  args: readonly string[],
  environment: Readonly<Record<string, string | undefined>>,
  { input, holdInput = false, cwd, timeout = 30_000, hashOutput = false, env = {} }: RunOptions = {},
): Child {
  const startedAt = performance.now();
  const limitMs = patient(timeout);
  const process = spawn(program, args, {
    env: { ...environment, ...env },
    cwd,
    detached: true,
    stdio: [input === undefined && !holdInput ? 'ignore' : 'pipe', 'pipe', 'pipe'],
  });
  running.add(process);
  const output = collect(process.stdout as Readable, hashOutput);
  const errors = collect(process.stderr as Readable, false);
  if (input !== undefined) feed(process.stdin as Writable, input);

  const done = new Promise<Result>((resolve, reject) => {
    const limit = setTimeout(() => {
      killGroup(process, 'SIGKILL');
      const told = `${output.text()}${errors.text()}`.slice(-4000);
      reject(new Error(`${program} ${args.join(' ')}: not done after ${limitMs} ms; it printed:\n${told}`));
    }, limitMs);
    process.once('error', (error) => {
      clearTimeout(limit);
      running.delete(process);
      reject(error);
    });
    process.once('close', (status, signal) => {
      clearTimeout(limit);
      running.delete(process);
      const milliseconds = performance.now() - startedAt;
      resolve({ status, signal, stdout: output.text(), stderr: errors.text(), milliseconds });
    });
  });
  // A test that started a child in the background may look at `done` late, or never.
  done.catch(() => {});

  return {
    pid: process.pid ?? 0,
    stdin: process.stdin as Writable,
    get stdout() {
      return output.text();
    },
    get stderr() {
      return errors.text();
    },
    done,
    kill: (signal = 'SIGTERM') => killGroup(process, signal),
    async until(form, milliseconds = 15_000) {
      let ended = false;
      const end = () => {
        ended = true;
      };
      done.then(end, end);
      const look = () => {
        const match = form.exec(output.text()) ?? form.exec(errors.text());
        if (match === null && ended) throw new Error(`${program} ended before ${form}: ${errors.text()}`);
        return match ?? undefined;
      };
      return await waitFor(`${program} to print ${form}`, milliseconds, look).catch((error: Error) => {
        const printed = JSON.stringify([output.text(), errors.text()].map((text) => text.slice(-1000)));
        throw new Error(`${error.message}; it printed ${printed}`);
      });
    },
  };
}

/**
 * Polls until `look` returns, or resolves to, something other than undefined or false.
 * @param milliseconds the time limit on a quiet machine
 */
export async function waitFor<T>(
  what: string,
  milliseconds: number,
  look: () => T | undefined | false | Promise<T | undefined | false>,
): Promise<T> {
  const end = performance.now() + patient(milliseconds);
  for (;;) {
    const found = await look();
    if (found !== undefined && found !== false) return found;
    if (performance.now() >= end) throw new Error(`waited ${patient(milliseconds)} ms for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

function collect(stream: Readable, asHash: boolean): { text(): string } {
  const chunks: Buffer[] = [];
  const hash: Hash = createHash('sha256');
  let length = 0;
  let digest: string | undefined;
  stream.on('data', (chunk: Buffer) => {
    length += chunk.length;
    if (asHash) hash.update(chunk);
    else chunks.push(chunk);
  });
  return {
    text() {
      if (!asHash) return Buffer.concat(chunks).toString();
      digest ??= stream.readableEnded ? hash.digest('hex') : undefined;
      return `${length} ${digest ?? 'unfinished'}`;
    },
  };
}

function feed(stdin: Writable, input: string | Buffer | Readable): void {
  // A program that does not read all of its input is not a failure of the test.
  stdin.on('error', () => {});
  if (typeof input === 'string' || Buffer.isBuffer(input)) stdin.end(input);
  else input.pipe(stdin);
}

function killGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, signal);
  } catch {
    // Already ended.
  }
}
