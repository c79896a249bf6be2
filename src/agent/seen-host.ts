import { MintError } from '../errors.ts';
import { type HostKey, parseHostKey } from '../ssh/hostkey.ts';
import type { SeenExchange } from './binding.ts';
import type { Login } from './credentials/credential.ts';
import { leadsTo, moved } from './destination.ts';
import { FirstKey } from './first-key.ts';
import { HostKeyRefusal, type Presented } from './host-trust.ts';
import { audit } from './login-notes.ts';
import type { AskPerson } from './questions.ts';
import type { Services } from './services.ts';

export interface HostHooks {
  /** Resolves when the VM has been found. @throws MintError as `Destination.find` */
  readonly found: () => Promise<unknown>;
  /** An unexpected key: is this the machine that it was a minute ago? The place is the right one from then on. */
  readonly recheck: () => Promise<void>;
  readonly ask: AskPerson;
  /** A first key cannot be written down. */
  readonly failed: (error: unknown) => void;
}

/** What the client may be told of a host that is trusted. `notice`: lines for the person. */
export interface Verdict {
  readonly outcome: 'match' | 'unknown';
  readonly notice: string | undefined;
}

/** The host at the other end of one connection, as far as it has shown itself. */
export class SeenHost {
  readonly #services: Services;
  readonly #login: Login;
  readonly #hooks: HostHooks;
  #exchange: SeenExchange | undefined;
  #address: string | undefined;
  #firstKey: FirstKey | undefined;
  #isJudged = false;
  #hasProceeded = false;
  #ended: { readonly isRefused: boolean } | undefined;

  constructor(services: Services, login: Login, hooks: HostHooks) {
    this.#services = services;
    this.#login = login;
    this.#hooks = hooks;
  }

  /** What the key exchange showed, once its key is accepted; kept until the connection ends. */
  get exchange(): SeenExchange | undefined {
    return this.#exchange;
  }

  /** Where the connection runs to, as its proxy says. */
  get address(): string | undefined {
    return this.#address;
  }

  /**
   * The held key exchange reply: what it shows is stored before the verdict lets it go on.
   * @param address where the proxy says that it comes from
   * @throws MintError `not-ssh`, `dial-failed`, and what `HostTrust.judge` and finding the VM throw
   */
  async judge(hostKeyBlob: Buffer, signature: Buffer, address: string): Promise<Verdict> {
    if (this.#isJudged)
      throw new MintError('not-ssh', 'a second host key in one connection', { unsafe: true });
    this.#isJudged = true;
    const hostKey = parseHostKey(hostKeyBlob);
    await this.#hooks.found();
    const { trust, hostTrust } = this.#services;
    const { vm, place } = this.#login;
    if (trust.pinned(vm.name)?.fingerprint !== hostKey.fingerprint) await this.#hooks.recheck();
    if (!leadsTo(place(), address)) throw moved(vm.name, address, place());
    this.#address = address;
    const accepted = await hostTrust.judge(this.#presented(hostKey)).catch((error: unknown) => {
      if (error instanceof HostKeyRefusal)
        audit(this.#services, this.#login, error.event, hostKey.fingerprint);
      throw error;
    });
    if (accepted.outcome === 'unknown') {
      this.#firstKey = new FirstKey(accepted.provisional, accepted.proof, {
        pinned: () => hostTrust.verifyLater(this.#presented(hostKey)),
        failed: this.#hooks.failed,
      });
      this.#endFirstKey();
    }
    this.#exchange = { hostKey, signature };
    return { outcome: accepted.outcome, notice: accepted.outcome === 'match' ? accepted.notice : undefined };
  }

  /**
   * The agent itself has verified the host's signature: what was the first key is the VM's from now on.
   * @throws MintError where the pin cannot be written
   */
  proven(): void {
    this.#firstKey?.proven();
  }

  /**
   * The client accepted what the server signed. Said again, the conversation is past any login: no signature of ours
   * was wanted. @param isSignedElsewhere its own agent may be the one that signs
   */
  clientProceeded(isSignedElsewhere: boolean): void {
    this.#firstKey?.clientProceeded(this.#hasProceeded || isSignedElsewhere);
    this.#hasProceeded = true;
  }

  /** With the connection. @param isRefused whether the VM did not let the client in */
  end(isRefused: boolean): void {
    this.#ended = { isRefused };
    this.#endFirstKey();
  }

  /** Nothing may depend on how a connection ends: what stays is removed by the next agent that starts. */
  #endFirstKey(): void {
    if (this.#ended === undefined) return;
    try {
      this.#firstKey?.end(this.#ended.isRefused);
    } catch (error) {
      this.#services.log(`${this.#login.vm.name}: cannot remove a provisional key: ${String(error)}`);
    }
  }

  #presented(key: HostKey): Presented {
    const { vm, settings, caller, place } = this.#login;
    const { instance, account, region } = place();
    return {
      sighting: { vm: vm.name, key, instance, account, region },
      settings,
      caller,
      ask: this.#hooks.ask,
    };
  }
}
