/** Where the time of one connection went: marks on the main path, each phase ending where the next begins. */
import { performance } from 'node:perf_hooks';

export type Phase =
  | 'start'
  | 'agent'
  | 'dial'
  /** The server closed before its `SSH-` line, once or more: from the first dial to the last. */
  | 'redial'
  /** What the cache says is old: until the agent has asked EC2 whether it still holds. */
  | 'address'
  | 'banner'
  | 'key exchange'
  /** The reply is held while the agent judges the key in it. */
  | 'host key'
  /** From the reply's release to the client's NEWKEYS: the client checks what it got. */
  | 'client'
  /** From the client's NEWKEYS until the push is known to be good. */
  | 'held'
  /** What was under way when the connection failed. */
  | 'failed';

export class Timing {
  /** In milliseconds, in the order of their first marks. */
  readonly #phases = new Map<Phase, number>();
  #last = 0;

  /** Ends the phase that began at the last mark, or at the start of the process. */
  mark(phase: Phase): void {
    const now = performance.now();
    this.#phases.set(phase, (this.#phases.get(phase) ?? 0) + now - this.#last);
    this.#last = now;
  }

  /** One line, the phases in order and their sum. */
  line(): string {
    const phases = [...this.#phases].map(([phase, milliseconds]) => `${phase} ${milliseconds.toFixed(1)}`);
    return `timing: ${phases.join(' · ')} · total ${this.#last.toFixed(1)} ms`;
  }
}
