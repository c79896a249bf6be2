import { MintError } from '../errors.ts';

/** The time that the server has for its next step; it ends the key exchange. */
export class ExchangeClock {
  /** Rejects with `not-ssh` when the time is over; never resolves. */
  readonly expired: Promise<never>;
  readonly #expire: (error: MintError) => void;
  #timer: NodeJS.Timeout | undefined;

  constructor() {
    const { promise, reject } = Promise.withResolvers<never>();
    promise.catch(() => {});
    this.expired = promise;
    this.#expire = reject;
  }

  /** @param what in words, what the server did not do */
  start(milliseconds: number, what: string): void {
    this.stop();
    this.#timer = setTimeout(
      () => {
        this.#expire(
          new MintError('not-ssh', `${what} (waited ${Math.round(milliseconds / 1000)} s)`, {
            hint: 'is sshd what listens on that port? `ssh-keyscan -p PORT HOST` asks it directly',
          }),
        );
      },
      Math.max(1, milliseconds),
    );
  }

  /** What is waited for now is not the server's. */
  stop(): void {
    clearTimeout(this.#timer);
  }
}
