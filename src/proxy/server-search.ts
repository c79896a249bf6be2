/**
 * The search for the VM's server, until it has said its `SSH-` line: it is dialled, and dialled again where the VM
 * turns out to be elsewhere, or where sshd drops the connection.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { printable } from '../cli/terminal.ts';
import { MintError } from '../errors.ts';
import type { Candidate } from '../vms/candidates.ts';
import { type Dialled, reach } from './dial.ts';
import type { EarlyDial } from './early-dial.ts';
import type { ExchangeClock } from './exchange-clock.ts';
import { type Guide, hosts, isSame } from './guide.ts';
import type { Timing } from './timing.ts';

/** From the first dial to the server's `SSH-` line, all attempts together, in milliseconds. */
const bannerLimit = 12_000;

export interface SearchParts {
  readonly vm: string;
  readonly timing: Timing;
  /** Told each decision; undefined where nobody wants to know. */
  readonly explain: ((line: string) => void) | undefined;
  /** What was dialled before the agent had said where. */
  readonly early: EarlyDial | undefined;
}

export class ServerSearch {
  readonly #parts: SearchParts;
  readonly #guide: Guide;
  readonly #clock: ExchangeClock;
  #bannerDeadline = Date.now() + bannerLimit;
  #hasDialled = false;

  constructor(parts: SearchParts, guide: Guide, clock: ExchangeClock) {
    this.#parts = parts;
    this.#guide = guide;
    this.#clock = clock;
  }

  /** The clock runs from here to the `SSH-` line. @throws MintError as `reach` */
  async dial(): Promise<Dialled> {
    const { vm, timing, explain, early } = this.#parts;
    this.#clock.stop();
    const patience = {
      left: () => this.#bannerDeadline - Date.now(),
      restart: () => {
        this.#bannerDeadline = Date.now() + bannerLimit;
      },
    };
    const dialled = await reach(vm, this.#guide, patience, early);
    timing.mark(this.#hasDialled ? 'redial' : 'dial');
    this.#hasDialled = true;
    const { target, way } = dialled;
    if (target.candidates.length > 1) explain?.(`${vm} is reached at ${way.host}${describeWay(way)}`);
    this.#startClock();
    return dialled;
  }

  /** Resolves once the agent is sure where the VM is: whether that is where it was dialled. */
  async confirm({ target, way }: Dialled): Promise<boolean> {
    const { timing, explain, vm } = this.#parts;
    if (!this.#guide.target.sure) {
      this.#clock.stop();
      await this.#guide.sure();
      timing.mark('address');
      this.#startClock();
    }
    const isThere = isSame(this.#guide.target, target);
    if (!isThere) explain?.(`${vm} is ${hosts(this.#guide.target)} now, no longer ${way.host}`);
    return isThere;
  }

  /** The VM is elsewhere, which is no failure: dials there at once, and the server's time begins now. */
  follow(): Promise<Dialled> {
    this.#bannerDeadline = Date.now() + bannerLimit;
    return this.dial();
  }

  /**
   * sshd's MaxStartups drops connections at random: come again, not all at the same moment.
   * @param attempt from 1
   * @param notice the last line that the server said
   * @throws MintError `not-ssh` where the server's time is over, and as `reach`
   */
  async comeAgain(attempt: number, notice: string | undefined): Promise<Dialled> {
    const pause = Math.random() * Math.min(100 * 2 ** attempt, 2000);
    if (Date.now() + pause >= this.#bannerDeadline) throw endedByServer(notice);
    await sleep(pause);
    return await this.dial();
  }

  #startClock(): void {
    this.#clock.start(this.#bannerDeadline - Date.now(), 'the server does not say anything');
  }
}

function describeWay({ kind }: Candidate): string {
  return kind === 'endpoint' ? ', through an EC2 Instance Connect Endpoint' : '';
}

/** @param notice the last line it said before its `SSH-` line: foreign text */
export function endedByServer(notice: string | undefined): MintError {
  const said = notice === undefined ? '' : `, saying ${JSON.stringify(printable(notice).slice(0, 100))}`;
  return new MintError('not-ssh', `the server closed the connection in the key exchange${said}`, {
    hint: 'sshd may be starting, full (MaxStartups) or blocking this address: wait a moment and try again',
  });
}
