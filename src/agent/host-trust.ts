/** What becomes of a host key: the pins decide, AWS gives evidence, and where a key changed a person answers. */
import type { Caller } from '../aws/workers.ts';
import { MintError } from '../errors.ts';
import type { VmSettings } from '../settings/settings.ts';
import { type ConsoleFinding, type Evidence, isStrict, likelyCause } from '../trust/evidence.ts';
import { isElsewhere } from '../trust/pin.ts';
import type { Judgement, Pin, Proof, Provisional, Sighting } from '../trust/store.ts';
import {
  changedKeyQuestion,
  changedKeyWarning,
  disagreementNotice,
  unverifiedKeyWarning,
} from '../trust/warning.ts';
import type { AgentContext } from './context.ts';
import { type Asker, askConsole, gatherEvidence } from './evidence.ts';
import { LateVerification } from './late-verification.ts';
import { type AskPerson, Questions, type Settled } from './questions.ts';

/** What a first connection may wait for the console, in milliseconds. */
const consoleLimit = 2000;
/** What the evidence for a question may take, in milliseconds. */
const evidenceLimit = 4000;
/** How long a person has, in seconds: less than the 45 s after which keep-alives end a waiting ssh. */
const answerSeconds = 40;

const noEvidence: Evidence = {
  console: { kind: 'silent', why: 'AWS has no part in this machine' },
  current: undefined,
  oldIsGone: undefined,
  callersOwner: undefined,
};

export interface Presented {
  /** Without an instance it is a machine that AWS has no part in, and is not asked about. */
  readonly sighting: Sighting;
  readonly settings: VmSettings;
  readonly caller: Caller;
  readonly ask: AskPerson;
}

export type Accepted =
  /** `notice`: what the person should hear about a key that is trusted all the same. */
  | { readonly outcome: 'match'; readonly notice: string | undefined }
  /** `proof`: what the pin will rest on beside the host's own signature. */
  | { readonly outcome: 'unknown'; readonly provisional: Provisional; readonly proof: Proof | undefined };

/** A key that is refused, with a warning in several lines to be shown before the error. */
export class HostKeyRefusal extends MintError {
  readonly warning: string | undefined;
  readonly event: 'host-key-changed' | 'host-key-unverified';

  constructor(
    code: 'host-key-changed' | 'host-key-unverified',
    message: string,
    hint: string,
    warning?: string,
  ) {
    super(code, message, { hint });
    this.event = code;
    this.warning = warning;
  }
}

export class HostTrust {
  readonly #context: AgentContext;
  readonly #questions = new Questions();
  readonly #consoles = new Map<string, Promise<ConsoleFinding>>();
  readonly #late: LateVerification;

  constructor(context: AgentContext) {
    this.#context = context;
    this.#late = new LateVerification(context);
  }

  /** @throws HostKeyRefusal, and what `TrustStore.judge` throws */
  async judge(presented: Presented): Promise<Accepted> {
    const { trust } = this.#context;
    const judgement = await trust.judge(presented.sighting);
    switch (judgement.kind) {
      case 'match':
        return { outcome: 'match', notice: noticeOf(presented.sighting.vm, judgement.pinned) };
      case 'unknown':
        return this.#judgeFirst(presented, judgement.provisional);
      case 'changed':
        await this.#settleChange(presented, judgement);
        // Accepted: from here on it is a key like any other.
        return this.judge(presented);
    }
  }

  /** A first key was pinned: what AWS could not say at once it may say later. */
  verifyLater(presented: Presented): void {
    const { sighting, settings } = presented;
    const { instance } = sighting;
    if (settings.verify !== 'console' || instance === undefined) return;
    this.#late.begin(this.#asker(presented), { ...sighting, instance });
  }

  async #judgeFirst(presented: Presented, provisional: Provisional): Promise<Accepted> {
    const { sighting, settings } = presented;
    const { vm, key } = sighting;
    const { instance } = sighting;
    if (settings.verify !== 'console' || instance === undefined)
      return { outcome: 'unknown', provisional, proof: undefined };
    const finding = await this.#askConsoleOnce(presented, instance);
    this.#context.log(`${vm}: first key ${key.fingerprint}; the console: ${describe(finding)}`);
    if (finding.kind !== 'differs') {
      return { outcome: 'unknown', provisional, proof: finding.kind === 'shown' ? 'console' : undefined };
    }
    provisional.release();
    this.#context.trust.refuse(sighting);
    throw new HostKeyRefusal(
      'host-key-unverified',
      `the first host key of ${vm} is not the one that AWS shows`,
      `if you know why: mint-ssh hosts accept ${vm} ${key.fingerprint}`,
      unverifiedKeyWarning(vm, key, finding.fingerprint),
    );
  }

  /** Thirty first logins at once are one question to AWS. */
  #askConsoleOnce(presented: Presented, instance: string): Promise<ConsoleFinding> {
    const { key } = presented.sighting;
    const asked = `${instance} ${key.fingerprint}`;
    const running = this.#consoles.get(asked);
    if (running !== undefined) return running;
    const finding = askConsole(this.#asker(presented), instance, key, consoleLimit).finally(() => {
      this.#consoles.delete(asked);
    });
    this.#consoles.set(asked, finding);
    return finding;
  }

  /** Resolves where the key was accepted. @throws HostKeyRefusal */
  async #settleChange(presented: Presented, change: Judgement & { kind: 'changed' }): Promise<void> {
    const { vm, key, instance, account, region } = presented.sighting;
    const seen = { ...change, instance, account, region };
    this.#context.log(`${vm}: holds the changed host key ${key.fingerprint}`);
    let cause: string[] = [];
    const settled = await this.#questions.settle(vm, key.fingerprint, presented.ask, async (ask) => {
      const evidence = await this.#evidence(presented, change.pinned);
      cause = likelyCause(vm, change.pinned, evidence, Date.now());
      if (presented.settings.acceptChanged === 'console' && isStrict(change.pinned, evidence)) {
        return this.#accept(vm, key.fingerprint, 'the evidence');
      }
      const answer = await ask(changedKeyQuestion(vm, seen, cause, answerSeconds));
      if (answer === 'yes') return this.#accept(vm, key.fingerprint, 'a person');
      return answer === 'no' ? 'refused' : answer === 'timeout' ? 'unanswered' : 'nobody';
    });
    if (settled === 'accepted') return;
    this.#context.log(`${vm}: blocked the changed host key ${key.fingerprint}: ${settled}`);
    throw new HostKeyRefusal(
      'host-key-changed',
      `the host key of ${vm} has changed${settled === 'unanswered' ? ', and nobody answered' : ''}`,
      isElsewhere(change.pinned, seen)
        ? `it is another VM of that name; for both, add [vm.NAME] with instance = "${instance}" and its profile to ssh.toml`
        : `if you expected that: mint-ssh hosts accept ${vm} ${key.fingerprint}`,
      settled === 'nobody' ? changedKeyWarning(vm, seen, cause) : undefined,
    );
  }

  /** What AWS has no part in it cannot explain. */
  async #evidence({ sighting, ...rest }: Presented, pinned: Pin): Promise<Evidence> {
    if (sighting.instance === undefined) return noEvidence;
    return gatherEvidence(
      this.#asker({ sighting, ...rest }),
      pinned,
      sighting.instance,
      sighting.key,
      evidenceLimit,
    );
  }

  #accept(vm: string, fingerprint: string, who: string): Settled {
    this.#context.trust.accept(vm, fingerprint);
    this.#context.log(`${vm}: ${who} accepted the changed host key ${fingerprint}`);
    return 'accepted';
  }

  #asker({ caller, settings: { region, profile } }: Presented): Asker {
    return { aws: this.#context.aws, caller, region, profile };
  }
}

function noticeOf(vm: string, pin: Pin): string | undefined {
  return pin.consoleShows === undefined ? undefined : disagreementNotice(vm, pin, pin.consoleShows);
}

function describe(finding: ConsoleFinding): string {
  if (finding.kind === 'shown') return 'shows it';
  return finding.kind === 'differs' ? `shows ${finding.fingerprint}` : finding.why;
}
