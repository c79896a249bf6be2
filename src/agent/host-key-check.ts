/**
 * The check of a host key, from the key exchange reply that a proxy holds to the pin. `TrustStore.check` decides. This
 * file provides what the decision needs from outside: the console from AWS, and the user's answer if a key has changed.
 *
 * `HostKeyChecks` is shared by all connections, `ConnectionHost` belongs to one.
 */

import { MintError } from '../errors.ts';
import { appendAudit } from '../platform/audit.ts';
import type { Caller } from '../platform/caller.ts';
import type { VmSettings } from '../settings/settings.ts';
import { type HostKey, parseHostKey, type SignedExchange } from '../ssh/hostkey.ts';
import { type ChangeEvidence, isStrict, likelyCause } from '../trust/changed-key.ts';
import type { ConsoleAnswer } from '../trust/decide.ts';
import { type Evidence, isElsewhere, mintType, type Place } from '../trust/pin.ts';
import type { Pin, Provisional } from '../trust/store.ts';
import { changedKeyQuestion, changedKeyWarning } from '../trust/warning.ts';
import { askerOf, ConsoleQuestions, type Presented, whyNotAsked } from './console-questions.ts';
import type { AgentContext } from './context.ts';
import { gatherEvidence } from './evidence.ts';
import { type Address, askForEd25519Key } from './host-key-probe.ts';
import { HostKeyRefusal, refusalOf } from './host-key-refusal.ts';
import { type AskUser, type Decision, SharedPrompt } from './prompt.ts';

/** How long gathering the evidence for a question may take. */
const evidenceLimitMs = 4000;
/** How long the user has, in seconds: less than the 45 s after which keep-alives end a waiting ssh. */
const answerSeconds = 40;
/** A client that continues and has not asked for a signature after this time will not ask for one. */
const signatureLimitMs = 3000;
/** An ssh whose connection has ended may still be writing the VM's known-hosts file for so long. */
const lastWriteMs = 2000;

export type Accepted =
  | { readonly outcome: 'match' }
  /** A new key: pinned once the server has proved that it owns it. */
  | { readonly outcome: 'unknown'; readonly provisional: Provisional; readonly evidence: Evidence };

export class HostKeyChecks {
  readonly #context: AgentContext;
  readonly #prompt = new SharedPrompt();
  readonly #console: ConsoleQuestions;
  /** Keys that open connections were shown, by VM. */
  readonly #shown = new Map<string, Map<object, HostKey>>();

  constructor(context: AgentContext) {
    this.#context = context;
    this.#console = new ConsoleQuestions(context);
  }

  /** @throws HostKeyRefusal, MintError `host-key-type`, and what `TrustStore.check` throws */
  async check(presented: Presented): Promise<Accepted> {
    const { trust, log } = this.#context;
    const { sighting } = presented;
    const { vm, key } = sighting;
    const mayAdopt = () => this.#mayAdopt(vm);
    let console: ConsoleAnswer = whyNotAsked(presented) ?? { kind: 'not-asked' };
    for (;;) {
      const checked = await trust.check(sighting, console, mayAdopt);
      switch (checked.outcome) {
        case 'pinned':
          this.#console.verifyOldPin(presented, checked.pin);
          return { outcome: 'match' };
        case 'new':
          log(`${vm}: new host key ${key.fingerprint}, ${checked.evidence}`);
          return { outcome: 'unknown', provisional: checked.provisional, evidence: checked.evidence };
        case 'ask-console':
          console = await this.#console.ask(presented);
          log(`${vm}: host key ${key.fingerprint}; the console ${describe(console)}`);
          break;
        case 'changed':
          await this.#settleChange(presented, checked.pin);
          // It was accepted, so the next check finds it pinned.
          break;
        case 'unverified':
        case 'type-not-pinned':
        case 'refused-before':
        case 'contradicted':
          throw refusalOf(sighting, checked);
      }
    }
  }

  /** A new key was pinned: asks AWS again later for what it could not show at once. */
  verifyLater(presented: Presented): void {
    this.#console.verifyNewPin(presented);
  }

  /** Remembers which key an open connection was shown, until `forget`. */
  note(connection: object, vm: string, key: HostKey): void {
    const shown = this.#shown.get(vm) ?? new Map<object, HostKey>();
    this.#shown.set(vm, shown);
    shown.set(connection, key);
  }

  /**
   * The connection has ended. Where its key is not pinned now, what its ssh wrote to the VM's known-hosts file is
   * removed, and once more when nothing of that ssh can be left.
   */
  forget(connection: object, vm: string): void {
    const shown = this.#shown.get(vm);
    const key = shown?.get(connection);
    if (shown === undefined || key === undefined) return;
    const drop = () => {
      shown.delete(connection);
      if (shown.size === 0 && this.#shown.get(vm) === shown) this.#shown.delete(vm);
    };
    if (this.#restoreUnlessPinned(vm, key)) {
      drop();
      return;
    }
    setTimeout(() => {
      this.#restoreUnlessPinned(vm, key);
      drop();
    }, lastWriteMs).unref();
  }

  /** @returns whether the key is pinned, so that there is nothing to remove */
  #restoreUnlessPinned(vm: string, key: HostKey): boolean {
    const { trust, log } = this.#context;
    try {
      if (trust.isPinned(vm, key)) return true;
      trust.restoreDerived(vm);
    } catch (error) {
      // Other users may have access to the directory: the next connection reports that.
      log(`${vm}: cannot restore the known-hosts file: ${String(error)}`);
    }
    return false;
  }

  /**
   * ssh writes to the VM's known-hosts file inside its sessions. One that began with a key that is not pinned now,
   * before the VM was forgotten or another key accepted, could add its own key there.
   */
  #mayAdopt(vm: string): boolean {
    const keys = [...(this.#shown.get(vm)?.values() ?? [])];
    return keys.every((key) => this.#context.trust.isPinned(vm, key));
  }

  /**
   * Resolves if the changed key was accepted.
   * @throws HostKeyRefusal
   */
  async #settleChange(presented: Presented, pin: Pin): Promise<void> {
    const { trust, log, paths } = this.#context;
    const { vm, key, instance, account, region } = presented.sighting;
    log(`${vm}: holds the changed host key ${key.fingerprint}`);
    let cause: string[] = [];
    let seen = { pinned: pin, presented: key, isMintVm: presented.isMintVm, instance, account, region };
    const accept = (who: string): Decision => {
      trust.accept(vm, key.fingerprint);
      appendAudit(paths, {
        event: 'host-key-accepted',
        command: 'proxy',
        vm,
        instance,
        keyFingerprint: key.fingerprint,
      });
      log(`${vm}: ${who} accepted the changed host key ${key.fingerprint}`);
      return 'accepted';
    };
    const settled = await this.#prompt.decide(vm, key.fingerprint, presented.ask, async (ask) => {
      const evidence = await this.#evidence(presented, pin);
      seen = { ...seen, isMintVm: seen.isMintVm || evidence.current?.owner !== undefined };
      cause = likelyCause(vm, pin, evidence, Date.now(), key.type);
      // The evidence decides instead of the user only if the settings allow it.
      if (presented.settings.acceptChanged === 'console' && isStrict(pin, evidence)) {
        return accept('the evidence');
      }
      const answer = await ask(changedKeyQuestion(vm, seen, cause, answerSeconds));
      if (answer === 'yes') return accept('the user');
      return answer === 'no' ? 'refused' : answer === 'timeout' ? 'unanswered' : 'cannot-ask';
    });
    if (settled === 'accepted') return;
    log(`${vm}: blocked the changed host key ${key.fingerprint}: ${settled}`);
    throw new HostKeyRefusal(
      'host-key-changed',
      `the host key of ${vm} has changed${settled === 'unanswered' ? ', and there was no answer' : ''}`,
      isElsewhere(pin, seen)
        ? `it is another VM of that name; for both, add [vm.NAME] with instance = "${instance}" and its profile to ssh.toml`
        : `if you expected that: mint-ssh hosts accept ${vm} ${key.fingerprint}`,
      settled === 'cannot-ask' ? changedKeyWarning(vm, seen, cause) : undefined,
    );
  }

  async #evidence(presented: Presented, pin: Pin): Promise<ChangeEvidence> {
    const { instance, key } = presented.sighting;
    if (instance === undefined) {
      const console = { kind: 'silent', why: 'AWS does not know this machine' } as const;
      return { console, current: undefined, oldIsGone: undefined, callersOwner: undefined };
    }
    return gatherEvidence(askerOf(this.#context, presented), pin, instance, key, evidenceLimitMs);
  }
}

function describe(console: ConsoleAnswer): string {
  if (console.kind !== 'block') return `says nothing: ${console.kind === 'silent' ? console.why : ''}`;
  return `shows ${console.block.keys.map(({ fingerprint }) => fingerprint).join(', ')}`;
}

/** The target and the user of one connection, as its host key check needs them. */
export interface HostHooks {
  readonly vm: string;
  readonly settings: VmSettings;
  readonly caller: Caller;
  /**
   * Resolves when the VM has been found.
   * @throws MintError as `Target.find`
   */
  readonly found: () => Promise<unknown>;
  /** Asks EC2, because of an unexpected key, whether the name still belongs to this instance. */
  readonly recheck: () => Promise<void>;
  /**
   * @returns where the name leads now
   * @throws MintError `dial-failed` if the address is not one of its candidates
   */
  readonly targetAt: (address: string) => Place & {
    readonly isMintVm: boolean;
    /** Where the server can be reached again; undefined behind a tunnel. */
    readonly direct: Address | undefined;
  };
  readonly ask: AskUser;
  /** Records in audit.log that the key with this fingerprint was refused. */
  readonly refused: (event: HostKeyRefusal['event'], fingerprint: string) => void;
  /** A new key cannot be pinned. */
  readonly failed: (error: unknown) => void;
}

/** The host key check of one connection: what the server has shown, and the new key that waits for its proof. */
export class ConnectionHost {
  readonly #checks: HostKeyChecks;
  readonly #trust: AgentContext['trust'];
  readonly #log: AgentContext['log'];
  readonly #hooks: HostHooks;
  #exchange: SignedExchange | undefined;
  #address: string | undefined;
  #provisional: Provisional | undefined;
  #presented: Presented | undefined;
  #pinTimer: NodeJS.Timeout | undefined;
  /** The server's ed25519 key, if the client was shown a key of another type at first contact. */
  #mintKey: Promise<HostKey | undefined> | undefined;
  #isChecked = false;
  #hasProceeded = false;
  #ended: { readonly isRefused: boolean } | undefined;

  constructor({ trust, log }: AgentContext, checks: HostKeyChecks, hooks: HostHooks) {
    this.#trust = trust;
    this.#log = log;
    this.#checks = checks;
    this.#hooks = hooks;
  }

  /** The key exchange, once its host key is accepted; kept until the connection ends. */
  get exchange(): SignedExchange | undefined {
    return this.#exchange;
  }

  /** Whether the client continued after it had verified the host's signature. */
  get hasProceeded(): boolean {
    return this.#hasProceeded;
  }

  /** The address to which the proxy is connected. */
  get address(): string | undefined {
    return this.#address;
  }

  /**
   * Checks the key of the key exchange reply that the proxy holds. An accepted key is written for ssh before the proxy
   * may release the reply.
   * @param address to which the proxy is connected
   * @throws MintError `not-ssh`, `dial-failed`, and what `HostKeyChecks.check` and finding the VM throw
   */
  async check(hostKeyBlob: Buffer, signature: Buffer, address: string): Promise<Accepted['outcome']> {
    if (this.#isChecked)
      throw new MintError('not-ssh', 'a second host key in one connection', { unsafe: true });
    this.#isChecked = true;
    const hostKey = parseHostKey(hostKeyBlob);
    const { vm, settings, caller, found, recheck, targetAt, ask } = this.#hooks;
    await found();
    if (!this.#trust.isPinned(vm, hostKey)) await recheck();
    const { isMintVm, direct, instance, account, region } = targetAt(address);
    this.#address = address;
    this.#presented = {
      sighting: { vm, key: hostKey, instance, account, region },
      settings,
      caller,
      ask,
      isMintVm,
    };
    try {
      const accepted = await this.#checks.check(this.#presented);
      if (accepted.outcome === 'unknown') {
        this.#provisional = accepted.provisional;
        if (accepted.evidence === 'first-use' && hostKey.type !== mintType && direct !== undefined) {
          this.#askForMintKey(direct);
        }
        this.#endNewKey();
      }
      this.#exchange = { hostKey, signature };
      return accepted.outcome;
    } catch (error) {
      if (error instanceof HostKeyRefusal) this.#hooks.refused(error.event, hostKey.fingerprint);
      throw error;
    } finally {
      if (this.#ended === undefined) this.#checks.note(this, vm, hostKey);
    }
  }

  /**
   * The agent itself has verified the host's signature: a new key is pinned now.
   * @throws MintError `io-failed`, `unsafe-permissions` or `host-key-changed` if the pin cannot be written
   */
  proven(): void {
    this.#pin();
  }

  /**
   * The client accepted the host's signature. A new key is then pinned if the agent is not asked for a signature in a
   * while, or if the conversation is longer than any login (then the proxy reports this a second time).
   * @param isSignedElsewhere the client's own agent may be the one that signs
   */
  clientProceeded(isSignedElsewhere: boolean): void {
    if (this.#hasProceeded || isSignedElsewhere) this.#pinQuietly();
    else this.#pinTimer ??= setTimeout(() => this.#pinQuietly(), signatureLimitMs).unref();
    this.#hasProceeded = true;
  }

  /**
   * The connection has ended.
   * @param isRefused whether the VM refused the client
   */
  end(isRefused: boolean): void {
    this.#ended = { isRefused };
    this.#endNewKey();
    this.#checks.forget(this, this.#hooks.vm);
  }

  /**
   * Pins the new key of a login that needed no key of the agent, and drops that of a login that was refused. If the agent
   * dies before this, the next agent removes the provisional key.
   */
  #endNewKey(): void {
    if (this.#ended === undefined) return;
    try {
      const hasProceeded = this.#pinTimer !== undefined;
      clearTimeout(this.#pinTimer);
      if (hasProceeded && !this.#ended.isRefused) this.#pinQuietly();
      this.#provisional?.release();
    } catch (error) {
      this.#log(`${this.#hooks.vm}: cannot remove a provisional key: ${String(error)}`);
    }
  }

  /** Begins while the client logs in; the result is used once the key that the client was shown is pinned. */
  #askForMintKey(address: Address): void {
    this.#mintKey = askForEd25519Key(address).catch((error: unknown) => {
      this.#log(`${this.#hooks.vm}: cannot ask for the ed25519 host key: ${String(error)}`);
      return undefined;
    });
  }

  async #pinMintKey({ sighting }: Presented): Promise<void> {
    const key = await this.#mintKey;
    if (key === undefined) return;
    try {
      this.#trust.addFirstUse({ ...sighting, key });
      this.#log(`${sighting.vm}: the same server's ed25519 host key ${key.fingerprint}, first-use`);
    } catch (error) {
      this.#log(`${sighting.vm}: cannot pin the ed25519 host key: ${String(error)}`);
    }
  }

  #pinQuietly(): void {
    try {
      this.#pin();
    } catch {
      // `#pin` has reported it to the connection.
    }
  }

  #pin(): void {
    if (this.#provisional === undefined || this.#presented === undefined) return;
    try {
      this.#provisional.pin();
      this.#provisional = undefined;
      void this.#pinMintKey(this.#presented);
      this.#checks.verifyLater(this.#presented);
    } catch (error) {
      this.#hooks.failed(error);
      throw error;
    }
  }
}
