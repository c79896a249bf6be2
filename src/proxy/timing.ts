/** Where the time of one connection went, for `--timing`: each phase ends where the next one begins. */
import { performance } from 'node:perf_hooks';

export type Phase =
  | 'start'
  | 'agent'
  | 'dial'
  /** Every dial after the first one: the VM had moved, or its server had closed the connection. */
  | 'redial'
  /** The cached address was old: until the agent has asked EC2 for the current one. */
  | 'address'
  | 'banner'
  | 'key exchange'
  /** The reply is held while the agent checks the host key in it. */
  | 'host key'
  /** From the release of the reply to the client's NEWKEYS: the client checks the reply. */
  | 'client'
  /** From the client's NEWKEYS until the push has succeeded. */
  | 'held'
  /** The phase in which the connection failed. */
  | 'failed';

export class Timing {
  /** Milliseconds of each phase, in the order of the first marks. */
  readonly #phases = new Map<Phase, number>();
  #last = 0;

  /** Ends the phase that began at the last mark, or at the start of the process. */
  mark(phase: Phase): void {
    const now = performance.now();
    this.#phases.set(phase, (this.#phases.get(phase) ?? 0) + now - this.#last);
    this.#last = now;
  }

  /** Ends the phase of a dial: the first one, or a later one. */
  markDial(): void {
    this.mark(this.#phases.has('dial') ? 'redial' : 'dial');
  }

  /** Whether the last phase of a successful connection has ended. */
  get isOver(): boolean {
    return this.#phases.has('held');
  }

  /** @returns one line with the phases in order and their sum */
  line(): string {
    const phases = [...this.#phases].map(([phase, milliseconds]) => `${phase} ${milliseconds.toFixed(1)}`);
    return `timing: ${phases.join(' · ')} · total ${this.#last.toFixed(1)} ms`;
  }
}
