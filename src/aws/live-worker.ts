/** One worker thread, the calls that wait for it, and its end. */
import type { Worker } from 'node:worker_threads';
import { printable } from '../cli/terminal.ts';
import { MintError } from '../errors.ts';
import { startThread } from '../platform/thread.ts';
import {
  type OperationName,
  type Operations,
  sharedClock,
  unpackFailure,
  type WorkerReply,
} from './protocol.ts';

/** What a call may take beyond its time before its thread counts as stuck, in milliseconds. */
const grace = 300;

interface Waiting {
  /** Takes the reply of the operation that was called, which the worker sends and nobody else. */
  readonly resolve: (reply: never) => void;
  readonly reject: (error: MintError) => void;
  readonly watchdog: NodeJS.Timeout;
}

export class LiveWorker {
  readonly startedAt = performance.now();
  readonly #thread: Worker;
  readonly #waiting = new Map<number, Waiting>();
  #whenEnded: () => void = () => {};
  #nextId = 1;
  #retired = false;
  #ended = false;

  /** The thread loads the SDK; it answers nothing before `serve`. */
  constructor() {
    this.#thread = startThread('aws', new URL('./worker.ts', import.meta.url), {
      env: {},
      execArgv: [],
      stdout: true,
      stderr: true,
    });
    // The SDK's own warnings are no one's to read, and unread they would pile up.
    this.#thread.stdout.resume();
    this.#thread.stderr.resume();
    this.#thread.on('message', (reply: WorkerReply) => this.#settle(reply));
    this.#thread.on('error', (error) => this.#end(crashed(`it failed with ${error.name}`, error)));
    this.#thread.on('exit', (code) => this.#end(crashed(`it ended with status ${code}`)));
    this.#thread.unref();
  }

  /**
   * Once, and before any call: whose environment this is from now on.
   * @param whenEnded called once, when the thread takes no more calls, whatever ended it
   */
  serve(environment: Readonly<Record<string, string>>, whenEnded: () => void): void {
    this.#whenEnded = whenEnded;
    this.#thread.postMessage(environment);
  }

  /** Whether it takes no more calls. */
  get hasEnded(): boolean {
    return this.#ended;
  }

  /** Resolves with what the worker answers; rejects with its MintError, or when the thread ends or is stuck. */
  async call<Name extends OperationName>(
    kind: Name,
    request: Operations[Name]['request'],
    milliseconds: number,
  ): Promise<Operations[Name]['reply']> {
    return await new Promise((resolve, reject) => {
      if (this.#ended) {
        reject(crashed('it had ended'));
        return;
      }
      const id = this.#nextId++;
      const watchdog = setTimeout(() => this.#end(stuck), milliseconds + grace);
      this.#waiting.set(id, { resolve, reject, watchdog });
      this.#thread.ref();
      this.#thread.postMessage({ id, kind, request, deadline: sharedClock() + milliseconds });
    });
  }

  /** No more calls come; the thread ends when the ones it has are answered. */
  retire(): void {
    this.#retired = true;
    if (this.#waiting.size === 0) this.#end(crashed('it was retired'));
  }

  /** Ends the thread now; calls that wait are rejected. */
  async terminate(): Promise<void> {
    this.#end(ending);
    await this.#thread.terminate();
  }

  #settle(reply: WorkerReply): void {
    const waiting = this.#waiting.get(reply.id);
    if (waiting === undefined) return;
    clearTimeout(waiting.watchdog);
    this.#waiting.delete(reply.id);
    if ('failure' in reply) waiting.reject(unpackFailure(reply.failure, printable));
    else waiting.resolve(reply.reply as never);
    if (this.#waiting.size > 0) return;
    this.#thread.unref();
    if (this.#retired) this.#end(crashed('it was retired'));
  }

  #end(reason: MintError): void {
    if (this.#ended) return;
    this.#ended = true;
    for (const waiting of this.#waiting.values()) {
      clearTimeout(waiting.watchdog);
      waiting.reject(reason);
    }
    this.#waiting.clear();
    this.#whenEnded();
    void this.#thread.terminate();
  }
}

function crashed(why: string, cause?: unknown): MintError {
  return new MintError('io-failed', `the thread that speaks to AWS is gone: ${why}`, {
    hint: 'connect again; if that does not help, run: mint-ssh agent stop',
    cause,
  });
}

const stuck = new MintError('aws-unreachable', 'the thread that speaks to AWS gave no answer in time', {
  hint: 'connect again; if that does not help, run: mint-ssh agent stop',
});

const ending = new MintError('agent-unavailable', 'the agent is ending', { hint: 'connect again' });
