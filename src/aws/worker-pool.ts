import { createHash } from 'node:crypto';
import { MintError } from '../errors.ts';
import { LiveWorker } from './live-worker.ts';
import { sharedFilesStamp } from './shared-files.ts';

/** Milliseconds after which a worker nobody used is ended: it holds some 20 MB. */
const idleTime = 10 * 60_000;
/** Milliseconds after which a worker that was started for whoever comes is ended, where nobody came. */
const spareTime = 5_000;

type Environment = Readonly<Record<string, string>>;

interface Entry {
  readonly worker: LiveWorker;
  /** What the caller's AWS files looked like when the worker was started. */
  readonly files: string;
  idle: NodeJS.Timeout;
}

/** Tells environments apart without showing what is in them; the order of the variables does not count. */
export function environmentKey(environment: Environment): string {
  const sorted = Object.entries(environment).sort(([one], [other]) => (one < other ? -1 : 1));
  return createHash('sha256').update(JSON.stringify(sorted)).digest('base64url');
}

/** A worker for each caller's AWS environment and nobody else's, a few of them alive at a time. */
export class WorkerPool {
  /** By `environmentKey`, in the order of last use, the longest unused first. */
  readonly #live = new Map<string, Entry>();
  readonly #ending = new Set<LiveWorker>();
  readonly #limit: number;
  #spare: { readonly worker: LiveWorker; readonly timer: NodeJS.Timeout } | undefined;
  #isClosed = false;

  constructor(limit: number) {
    this.#limit = limit;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** The environment's live worker, or a new one; marks it as used now. @throws MintError `agent-unavailable` */
  worker(environment: Environment): LiveWorker {
    if (this.#isClosed)
      throw new MintError('agent-unavailable', 'the agent is ending', { hint: 'connect again' });
    const key = environmentKey(environment);
    const files = sharedFilesStamp(environment);
    const found = this.#live.get(key);
    if (found !== undefined) {
      if (found.files === files) {
        clearTimeout(found.idle);
        found.idle = this.#idleTimer(found.worker);
        this.#live.delete(key);
        this.#live.set(key, found);
        return found.worker;
      }
      this.retire(found.worker);
    }
    const worker = this.#takeSpare() ?? new LiveWorker();
    worker.serve(environment, () => {
      this.#ending.delete(worker);
      this.#remove(worker);
    });
    this.#live.set(key, { worker, files, idle: this.#idleTimer(worker) });
    for (const entry of this.#live.values()) {
      if (this.#live.size <= this.#limit) break;
      this.retire(entry.worker);
    }
    return worker;
  }

  /** The same where it is alive, and the caller's AWS files are what it has read; not marked as used. */
  current(environment: Environment): LiveWorker | undefined {
    const entry = this.#live.get(environmentKey(environment));
    return entry?.files === sharedFilesStamp(environment) ? entry.worker : undefined;
  }

  /** Starts a worker for a caller who is yet to say who it is. */
  expectCaller(): void {
    const worker = new LiveWorker();
    const timer = setTimeout(() => this.#takeSpare()?.retire(), spareTime).unref();
    this.#spare = { worker, timer };
  }

  /** Gives the worker no more calls; the ones in flight are still answered. */
  retire(worker: LiveWorker): void {
    if (!this.#remove(worker)) return;
    this.#ending.add(worker);
    worker.retire();
  }

  /** Ends every worker; calls in flight are rejected. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const entry of this.#live.values()) clearTimeout(entry.idle);
    const workers = [...this.#live.values()].map((entry) => entry.worker);
    this.#live.clear();
    const spare = this.#takeSpare();
    if (spare !== undefined) workers.push(spare);
    await Promise.all([...workers, ...this.#ending].map((worker) => worker.terminate()));
  }

  #takeSpare(): LiveWorker | undefined {
    if (this.#spare === undefined) return undefined;
    const { worker, timer } = this.#spare;
    clearTimeout(timer);
    this.#spare = undefined;
    return worker.hasEnded ? undefined : worker;
  }

  #idleTimer(worker: LiveWorker): NodeJS.Timeout {
    return setTimeout(() => this.retire(worker), idleTime).unref();
  }

  /** False where it is not among the live ones any more. */
  #remove(worker: LiveWorker): boolean {
    for (const [key, entry] of this.#live) {
      if (entry.worker !== worker) continue;
      clearTimeout(entry.idle);
      return this.#live.delete(key);
    }
    return false;
  }
}
