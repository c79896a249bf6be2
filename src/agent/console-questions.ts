/**
 * The questions to AWS about the host keys of one agent: for a check that waits, and in the background, since the console
 * output can be minutes late.
 */
import type { Caller } from '../platform/caller.ts';
import type { VmSettings } from '../settings/settings.ts';
import type { ConsoleAnswer } from '../trust/decide.ts';
import type { Pin, Sighting } from '../trust/store.ts';
import type { AgentContext } from './context.ts';
import { type Asker, askConsole, askInstance } from './evidence.ts';
import type { AskUser } from './prompt.ts';

/** How long a connection waits for the console output. */
const consoleLimitMs = 2000;
/** The pauses between requests for the console output of a new pin's instance. AWS can show it minutes late. */
const newPinPausesMs = [2_000, 8_000, 30_000, 60_000, 300_000, 900_000];
/**
 * The pauses for a pin that was never verified, when it is used again, at most once an hour. The first one leaves the
 * agent to the login: the part of the SDK for EC2 takes about as long to load as a push.
 */
const oldPinPausesMs = [2_000, 60_000];
const oldPinIntervalMs = 3_600_000;
const lateLimitMs = 10_000;

/** The key that one connection was shown, and what is needed to ask about it. */
export interface Presented {
  /** If it has no instance, it is a machine that AWS does not know, and AWS is not asked. */
  readonly sighting: Sighting;
  readonly settings: VmSettings;
  readonly caller: Caller;
  readonly ask: AskUser;
  /** The name was found by Mint's tag. */
  readonly isMintVm: boolean;
}

export class ConsoleQuestions {
  readonly #context: Pick<AgentContext, 'aws' | 'trust' | 'log'>;
  /**
   * Requests for console output that are under way, by instance and by whose credentials ask: thirty first logins at
   * once are one request. What AWS refuses to one identity says nothing about another.
   */
  readonly #consoles = new Map<string, Promise<ConsoleAnswer>>();
  /** VMs whose console is asked for in the background, and when that began last. */
  readonly #late = new Map<string, { isRunning: boolean; readonly begunAt: number }>();

  constructor(context: Pick<AgentContext, 'aws' | 'trust' | 'log'>) {
    this.#context = context;
  }

  /** What the console shows now, within two seconds. */
  ask(presented: Presented): Promise<ConsoleAnswer> {
    const { instance } = presented.sighting;
    const notAsked = whyNotAsked(presented);
    if (instance === undefined || notAsked !== undefined) {
      return Promise.resolve(notAsked ?? { kind: 'silent', why: 'the instance is not known' });
    }
    const asker = askerOf(this.#context, presented);
    const scope = JSON.stringify([asker.aws.scope(asker.caller, asker), asker.region, instance]);
    const running = this.#consoles.get(scope);
    if (running !== undefined) return running;
    const answer = askConsole(asker, instance, consoleLimitMs)
      .then((view) => view.answer)
      .finally(() => this.#consoles.delete(scope));
    this.#consoles.set(scope, answer);
    return answer;
  }

  /** A new key was pinned: asks AWS again later for what it could not show at once. */
  verifyNewPin(presented: Presented): void {
    this.#beginLate(presented, newPinPausesMs);
  }

  /** Compares a pin whose only evidence is its first use with the console again. */
  verifyOldPin(presented: Presented, { evidence }: Pin): void {
    if (evidence !== undefined && evidence !== 'first-use') return;
    const last = this.#late.get(presented.sighting.vm);
    if (last !== undefined && performance.now() - last.begunAt < oldPinIntervalMs) return;
    this.#beginLate(presented, oldPinPausesMs);
  }

  /** Runs one series of requests at a time for each VM. The result goes into the VM's record for the next connection. */
  #beginLate(presented: Presented, pausesMs: readonly number[]): void {
    const { vm, instance } = presented.sighting;
    if (instance === undefined || whyNotAsked(presented) !== undefined) return;
    if (this.#late.get(vm)?.isRunning || this.#context.trust.knowsInstance(vm, instance)) return;
    const series = { isRunning: true, begunAt: performance.now() };
    this.#late.set(vm, series);
    const asker = askerOf(this.#context, presented);
    // The proxy resolves credentials only until its login is done, which may be before the first request.
    asker.aws.ready(asker.caller, asker).catch(() => {});
    const askAfter = (attempt: number) => {
      const pauseMs = pausesMs[attempt];
      if (pauseMs === undefined) {
        series.isRunning = false;
        return;
      }
      setTimeout(() => {
        this.#askLate(asker, vm, instance).then(
          (isDone) => {
            if (isDone) series.isRunning = false;
            else askAfter(attempt + 1);
          },
          (error: unknown) => {
            // If the directory is no longer private, the next connection reports that.
            series.isRunning = false;
            this.#context.log(`${vm}: cannot record what AWS shows: ${String(error)}`);
          },
        );
      }, pauseMs).unref();
    };
    askAfter(0);
  }

  /** @returns true if no further request is needed */
  async #askLate(asker: Asker, vm: string, instance: string): Promise<boolean> {
    const { trust, log } = this.#context;
    const [{ answer }, facts] = await Promise.all([
      askConsole(asker, instance, lateLimitMs),
      askInstance(asker, instance, lateLimitMs),
    ]);
    const { account, region } = facts ?? {};
    if (answer.kind !== 'block') {
      trust.learnPlace(vm, { instance, account, region });
      return false;
    }
    const learnt = trust.learn(vm, answer.block, { instance, account, region });
    if (learnt === 'contradicts')
      log(`${vm}: the console does not list the pinned host key: blocked from now on`);
    return learnt !== undefined;
  }
}

/** @returns why AWS is not asked for the console; undefined if it is asked */
export function whyNotAsked({
  sighting,
  settings,
}: Presented): (ConsoleAnswer & { kind: 'silent' }) | undefined {
  if (sighting.instance === undefined) return { kind: 'silent', why: 'AWS does not know this machine' };
  return settings.verify === 'console'
    ? undefined
    : { kind: 'silent', why: `verify = "${settings.verify}", so AWS was not asked` };
}

/** The credentials and the region with which AWS is asked about a key. */
export function askerOf(
  { aws }: Pick<AgentContext, 'aws'>,
  { caller, settings: { region, profile } }: Presented,
): Asker {
  return { aws, caller, region, profile };
}
