import type { Proof, Provisional } from '../trust/store.ts';

/** A client that goes on and has not asked for a signature after this time will not, in milliseconds. */
const signatureLimit = 3000;

export interface FirstKeyHooks {
  /** It is pinned now, whatever becomes of the connection. */
  readonly pinned: () => void;
  /** It cannot be written down. */
  readonly failed: (error: unknown) => void;
}

/**
 * A first host key as one connection holds it: pinned when something has shown that the host owns it, and gone
 * with the connection otherwise.
 */
export class FirstKey {
  #provisional: Provisional | undefined;
  readonly #proof: Proof | undefined;
  readonly #hooks: FirstKeyHooks;
  #timer: NodeJS.Timeout | undefined;

  /** @param proof what the pin will rest on beside the host's signature, such as the console */
  constructor(provisional: Provisional, proof: Proof | undefined, hooks: FirstKeyHooks) {
    this.#provisional = provisional;
    this.#proof = proof;
    this.#hooks = hooks;
  }

  /** The agent itself has verified the host's signature. @throws MintError where it cannot be written down */
  proven(): void {
    this.#pin('stream-binding');
  }

  /**
   * The client accepted what the server signed: that has to do where no signature of ours is asked for in a
   * while, or where the conversation is `past` any login already.
   */
  clientProceeded(past: boolean): void {
    if (past) this.#pinQuietly();
    else this.#timer ??= setTimeout(() => this.#pinQuietly(), signatureLimit).unref();
  }

  /**
   * The connection has ended. A login that was refused leaves nothing; one that needed no key of ours was one.
   * @throws MintError where what was provisional cannot be removed
   */
  end(isRefused: boolean): void {
    const hasProceeded = this.#timer !== undefined;
    clearTimeout(this.#timer);
    if (hasProceeded && !isRefused) this.#pinQuietly();
    this.#provisional?.release();
  }

  #pinQuietly(): void {
    try {
      this.#pin('client');
    } catch {
      // Whoever holds this has been told.
    }
  }

  #pin(proof: Proof): void {
    if (this.#provisional === undefined) return;
    try {
      this.#provisional.pin(this.#proof ?? proof);
      this.#provisional = undefined;
      this.#hooks.pinned();
    } catch (error) {
      this.#hooks.failed(error);
      throw error;
    }
  }
}
