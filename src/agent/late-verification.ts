/** Verifies a first key after the login, when the console output comes: it can be minutes late. */

import type { Sighting } from '../trust/store.ts';
import type { AgentContext } from './context.ts';
import { type Asker, askConsole, askInstance } from './evidence.ts';

/** When to ask again after the pin was made, in milliseconds from one time to the next. */
const pauses = [2_000, 60_000, 300_000, 900_000];
/** In milliseconds, for each question. */
const limit = 10_000;

type Sighted = Sighting & { readonly instance: string };

export class LateVerification {
  readonly #context: AgentContext;
  readonly #running = new Set<string>();

  constructor(context: AgentContext) {
    this.#context = context;
  }

  /** One at a time for each VM; a disagreement goes into the record, where the next command finds it. */
  begin(asker: Asker, sighting: Sighted): void {
    if (this.#running.has(sighting.vm)) return;
    this.#running.add(sighting.vm);
    this.#ask(asker, sighting, 0);
  }

  #ask(asker: Asker, sighting: Sighted, attempt: number): void {
    const pause = pauses[attempt];
    if (pause === undefined) {
      this.#running.delete(sighting.vm);
      return;
    }
    setTimeout(() => {
      this.#try(asker, sighting, attempt).catch((error: unknown) => {
        // The directory is no longer ours alone: the next connection hears of it. The agent lives.
        this.#running.delete(sighting.vm);
        this.#context.log(`${sighting.vm}: cannot note what AWS shows: ${String(error)}`);
      });
    }, pause).unref();
  }

  async #try(asker: Asker, sighting: Sighted, attempt: number): Promise<void> {
    const { vm, key, instance } = sighting;
    const [finding, place] = await Promise.all([
      askConsole(asker, instance, key, limit),
      askInstance(asker, instance, limit),
    ]);
    const { account, region } = place ?? {};
    const learnt = this.#context.trust.learn(vm, key.fingerprint, finding, { instance, account, region });
    if (finding.kind === 'differs') {
      this.#context.log(`${vm}: the console shows another key than the pinned one: ${finding.fingerprint}`);
    }
    if (learnt && finding.kind === 'silent') this.#ask(asker, sighting, attempt + 1);
    else this.#running.delete(vm);
  }
}
