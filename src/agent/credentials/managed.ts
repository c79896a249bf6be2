/** `access = "key:<profile>"`, or an instance whose KeyName is a managed key: the agent signs with that key. */

import { setTimeout as sleep } from 'node:timers/promises';
import { MintError } from '../../errors.ts';
import type { LoginMachine, WhichKey } from '../../keys/store/key-use.ts';
import type { SigningKey } from '../../ssh/key-signature.ts';
import type { RefusalWords } from '../control/protocol.ts';
import {
  type Credential,
  type CredentialContext,
  type Login,
  loginLimitMs,
  nothingToDo,
} from './credential.ts';
import type { ManagedKey, ServedManagedKey } from './managed-keys.ts';
import { ephemeralKey, PushedCredential } from './pushed.ts';

/** The default of `key_lifetime`. */
const defaultLifetimeMs = 3_600_000;
const units: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
/** How long a login waits for the push of its fallback, which most logins do not need. */
const fallbackLimitMs = 4000;

export class ManagedCredential implements Credential {
  readonly isSignedElsewhere = false;
  readonly requestId = undefined;
  readonly remainingMs = loginLimitMs;
  readonly #context: Pick<CredentialContext, 'managedKeys' | 'log' | 'aws' | 'paths'>;
  readonly #login: Login;
  readonly #which: WhichKey;
  #finding: { readonly machine: string; readonly key: Promise<ServedManagedKey> } | undefined;
  #key: ServedManagedKey | undefined;
  #fallback: PushedCredential | undefined;
  #isAuthorized = false;
  #isReleased = false;
  #failure: MintError | undefined;

  constructor(
    context: Pick<CredentialContext, 'managedKeys' | 'log' | 'aws' | 'paths'>,
    login: Login,
    which: WhichKey,
  ) {
    this.#context = context;
    this.#login = login;
    this.#which = which;
  }

  /** The KeyName by which the key was chosen; undefined if ssh.toml names the key. */
  get awsKeyName(): string | undefined {
    return 'awsKeyName' in this.#which ? this.#which.awsKeyName : undefined;
  }

  get fingerprint(): string | undefined {
    return this.#key?.fingerprint;
  }

  get listed(): Buffer | undefined {
    return this.#key?.blob;
  }

  /**
   * The other key of an open rotation, so that the machine may change from one key to the other at any moment of the login;
   * then a pushed key for an instance that has not accepted the managed one before.
   */
  get fallbacks(): readonly Credential[] {
    const { other } = this.#key ?? {};
    const pushed = this.#fallback === undefined ? [] : [this.#fallback];
    return other === undefined ? pushed : [this.#with(other), ...pushed];
  }

  /** The user is asked only here, so that a client that logs in by another way does not cause the question. */
  get signingKey(): SigningKey | undefined | Promise<SigningKey | undefined> {
    return this.#key && this.#signingKey(this.#key);
  }

  get refusal(): RefusalWords {
    const { vm, user } = this.#login;
    const name = this.#key?.name ?? 'its profile';
    if (this.#failure !== undefined) {
      return { code: 'key-passphrase', message: this.#failure.message, hint: this.#failure.hint ?? '' };
    }
    const isOpen = this.#key?.other !== undefined;
    return {
      code: 'login-refused',
      message: `${vm.name} refused the managed key ${name}, or ssh did not offer it, for user ${user}`,
      hint: isOpen
        ? `a rotation of ${name} is not finished, and neither of its keys was accepted: mint-ssh keys show ${name}`
        : `is its public key (mint-ssh keys public ${name}) in ~/.ssh/authorized_keys of ${user} there? Connect again to log in through EC2 Instance Connect where the VM has it, or set access of [vm.${vm.name}]`,
    };
  }

  async begin(): Promise<void> {
    const to = this.#machine();
    const machine = JSON.stringify(to);
    if (this.#finding?.machine !== machine) {
      const key = this.#context.managedKeys.find(this.#login.caller, this.#which, to);
      this.#finding = { machine, key };
    }
    this.#key = await this.#finding.key;
    this.#startFallback(this.#key);
  }

  async begun(): Promise<void> {
    await this.#fallback?.begun();
  }

  retarget(): void {
    this.#fallback?.retarget();
  }

  async authorize(): Promise<undefined> {
    // The dial may have taken minutes, where the VM had to be started.
    if (this.#key !== undefined && !this.#context.managedKeys.isCurrent(this.#key)) this.#finding = undefined;
    await this.begin();
    if (this.#fallback !== undefined) {
      const push = this.#fallback.authorize().catch((error: unknown) => {
        this.#context.log(`${this.#login.vm.name}: no fallback by a pushed key: ${String(error)}`);
      });
      await Promise.race([push, sleep(fallbackLimitMs, undefined, { ref: false })]);
    }
    this.#isAuthorized = true;
  }

  release(): void {
    this.#isReleased = true;
    this.#fallback?.release();
  }

  recordUse(): void {
    if (this.#key !== undefined) this.#recordUse(this.#key, this.#key);
  }

  /** The credential of the other key of a rotation. */
  #with(other: ManagedKey): Credential {
    const signingKey = () => this.#signingKey(other);
    return {
      ...nothingToDo,
      fingerprint: other.fingerprint,
      isSignedElsewhere: false,
      listed: other.blob,
      get signingKey() {
        return signingKey();
      },
      refusal: this.refusal,
      remainingMs: loginLimitMs,
      recordUse: () => {
        if (this.#key !== undefined) this.#recordUse(this.#key, other);
      },
    };
  }

  #recordUse(key: ServedManagedKey, used: ManagedKey): void {
    const { caller, tell, vm } = this.#login;
    if (!this.#context.managedKeys.recordUse(key, used)) return;
    if (!this.#context.managedKeys.finishRotation(key, caller)) {
      tell(
        `the rotation of ${key.name} is not finished on ${vm.name}: mint-ssh keys rotate ${key.name} ${vm.name}`,
      );
    }
  }

  recordRefusal(): void {
    if (this.#key !== undefined && this.#failure === undefined)
      this.#context.managedKeys.recordRefusal(this.#key);
  }

  #machine(): LoginMachine {
    const { vm, user, settings } = this.#login;
    const { instance, region } = this.#login.resolved();
    return { instance, name: vm.name, user, region: region ?? settings.region };
  }

  /** A fallback exists only if the instance's KeyName chose the key. `access` in ssh.toml is used without a fallback. */
  #startFallback(key: ServedManagedKey): void {
    const { instance } = this.#login.resolved();
    const isWanted = this.awsKeyName !== undefined && instance !== undefined && !key.served.isProved;
    if (!isWanted || this.#fallback !== undefined || this.#isReleased) return;
    this.#fallback = new PushedCredential(this.#context, this.#login, ephemeralKey(this.#login));
    this.#fallback.begin().catch(() => {});
  }

  #signingKey(key: ManagedKey): Promise<SigningKey | undefined> | undefined {
    return this.#isAuthorized && !this.#isReleased ? this.#open(key) : undefined;
  }

  async #open(key: ManagedKey): Promise<SigningKey | undefined> {
    const { settings, askSecret, vm } = this.#login;
    try {
      const lifetimeMs = milliseconds(settings.keyLifetime);
      return await this.#context.managedKeys.open(key, askSecret, lifetimeMs);
    } catch (error) {
      this.#context.log(`${vm.name}: cannot use the key ${key.name}: ${String(error)}`);
      if (error instanceof MintError) {
        this.#failure = error;
        this.#login.explain(this.refusal);
      }
      return undefined;
    }
  }
}

/** @param time as ssh.toml has it */
function milliseconds(time: string | undefined): number {
  if (time === undefined) return defaultLifetimeMs;
  return Number.parseInt(time, 10) * (units[time.slice(-1)] ?? 1000);
}
