/** `access = "key:<profile>"`, or an instance whose KeyName is a managed key: the agent signs with that key. */

import { setTimeout as sleep } from 'node:timers/promises';
import { MintError } from '../../errors.ts';
import type { LoginMachine, WhichKey } from '../../keys/store/key-use.ts';
import type { SigningKey } from '../../ssh/key-signature.ts';
import type { RefusalWords } from '../control/protocol.ts';
import { type Credential, type CredentialContext, type Login, loginLimitMs } from './credential.ts';
import type { ManagedKey } from './managed-keys.ts';
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
  #finding: { readonly machine: string; readonly key: Promise<ManagedKey> } | undefined;
  #key: ManagedKey | undefined;
  #fallback: PushedCredential | undefined;
  #opened: SigningKey | undefined;
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

  /** A pushed key for an instance that has not accepted the managed one before; it is listed after that. */
  get fallback(): Credential | undefined {
    return this.#fallback;
  }

  /** The user is asked only here, so that a client that logs in by another way does not cause the question. */
  get signingKey(): SigningKey | undefined | Promise<SigningKey | undefined> {
    if (this.#key === undefined || !this.#isAuthorized || this.#isReleased) return undefined;
    return this.#opened ?? this.#open(this.#key);
  }

  get refusal(): RefusalWords {
    const { vm, user } = this.#login;
    const name = this.#key?.name ?? 'its profile';
    if (this.#failure !== undefined) {
      return { code: 'key-passphrase', message: this.#failure.message, hint: this.#failure.hint ?? '' };
    }
    const isOpen = this.#key?.served.record.rotation !== undefined;
    return {
      code: 'login-refused',
      message: `${vm.name} refused the managed key ${name}, or ssh did not offer it, for user ${user}`,
      hint: isOpen
        ? `a rotation of ${name} is not finished: connect again to try its other key; mint-ssh keys show ${name}`
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
    this.#opened = undefined;
    this.#fallback?.release();
  }

  recordUse(): void {
    const key = this.#key;
    if (key === undefined) return;
    const { caller, tell, vm } = this.#login;
    this.#context.managedKeys.recordUse(key);
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
  #startFallback(key: ManagedKey): void {
    const { instance } = this.#login.resolved();
    const isWanted = this.awsKeyName !== undefined && instance !== undefined && !key.served.isProved;
    if (!isWanted || this.#fallback !== undefined || this.#isReleased) return;
    this.#fallback = new PushedCredential(this.#context, this.#login, ephemeralKey(this.#login));
    this.#fallback.begin().catch(() => {});
  }

  async #open(key: ManagedKey): Promise<SigningKey | undefined> {
    const { settings, askSecret, vm } = this.#login;
    try {
      const lifetimeMs = milliseconds(settings.keyLifetime);
      this.#opened = await this.#context.managedKeys.open(key, askSecret, lifetimeMs);
      return this.#opened;
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
