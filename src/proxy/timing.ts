/** Where the time of one connection went: marks on the main path, each phase ending where the next begins. */
import { performance } from 'node:perf_hooks';

export type Phase =
  | 'start'
  | 'agent'
  | 'dial'
  | 'banner'
  | 'key exchange'
  /** The reply is held while the agent judges the key in it. */
  | 'host key'
  /** From the reply's release to the client's NEWKEYS: the client checks what it got. */
  | 'client'
  /** From the client's NEWKEYS until the push is known to be good. */
  | 'held';

export class Timing {
  readonly #phases: { readonly phase: Phase; readonly milliseconds: number }[] = [];
  #last = 0;

  /** Ends the phase that began at the last mark, or at the start of the process. */
  mark(phase: Phase): void {
    const now = performance.now();
    this.#phases.push({ phase, milliseconds: now - this.#last });
    this.#last = now;
  }

  /**
   * One line, the phases in order and their sum.
   * @param push how long the push took, in milliseconds, while the other phases ran
   */
  line(push: number | undefined): string {
    const phases = this.#phases.map(({ phase, milliseconds }) => `${phase} ${milliseconds.toFixed(1)}`);
    const beside = push === undefined ? 'push none, the key was warm' : `push ${push.toFixed(1)} beside them`;
    return `timing: ${phases.join(' · ')} · total ${this.#last.toFixed(1)} ms (${beside})`;
  }
}
