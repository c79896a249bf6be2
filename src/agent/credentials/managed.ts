/** `access = "key:<profile>"`, or an instance whose KeyName is a key of ours: that key is served, nothing is pushed. */

import { MintError } from '../../errors.ts';
import type { WhichKey } from '../../keys/store/key-use.ts';
import { parseHostKey } from '../../ssh/hostkey.ts';
import type { SigningKey } from '../../ssh/key-signature.ts';
import type { RefusalWords } from '../control/protocol.ts';
import type { ManagedKey } from '../managed-key.ts';
import type { Services } from '../services.ts';
import { type Credential, type Login, loginLimitMs } from './credential.ts';

/** `key_lifetime` where nobody has set it, in milliseconds. */
const usualLifetime = 3_600_000;
const units: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

export class ManagedCredential implements Credential {
  readonly isSignedElsewhere = false;
  readonly requestId = undefined;
  readonly remainingMs = loginLimitMs;
  readonly #services: Pick<Services, 'managedKeys' | 'log'>;
  readonly #login: Login;
  readonly #which: WhichKey;
  #finding: Promise<ManagedKey> | undefined;
  #key: ManagedKey | undefined;
  #opened: SigningKey | undefined;
  #granted = false;
  #settled = false;
  #failure: MintError | undefined;

  constructor(services: Pick<Services, 'managedKeys' | 'log'>, login: Login, which: WhichKey) {
    this.#services = services;
    this.#login = login;
    this.#which = which;
  }

  /** By which it was chosen; undefined where ssh.toml names the key. */
  get awsKeyName(): string | undefined {
    return 'awsKeyName' in this.#which ? this.#which.awsKeyName : undefined;
  }

  get fingerprint(): string | undefined {
    return this.#key && parseHostKey(this.#key.blob).fingerprint;
  }

  get listed(): Buffer | undefined {
    return this.#key?.blob;
  }

  /** A person is asked only here: a client that logs in by another way is spared the question. */
  get signingKey(): SigningKey | undefined | Promise<SigningKey | undefined> {
    if (this.#key === undefined || !this.#granted || this.#settled) return undefined;
    return this.#opened ?? this.#open(this.#key);
  }

  get refusal(): RefusalWords {
    const { vm, user } = this.#login;
    const name = this.#key?.name ?? 'its profile';
    if (this.#failure !== undefined) {
      return { code: 'key-passphrase', message: this.#failure.message, hint: this.#failure.hint ?? '' };
    }
    return {
      code: 'login-refused',
      message: `${vm.name} refused the managed key ${name}, or ssh did not offer it, for user ${user}`,
      hint: `is its public key (mint-ssh keys public ${name}) in ~/.ssh/authorized_keys of ${user} there?`,
    };
  }

  async begin(): Promise<void> {
    const { caller, vm } = this.#login;
    this.#finding ??= this.#services.managedKeys.find(caller, this.#which, vm.name);
    this.#key = await this.#finding;
  }

  async begun(): Promise<void> {}

  retarget(): void {}

  async authorize(): Promise<undefined> {
    await this.begin();
    this.#granted = true;
  }

  release(): void {
    this.#settled = true;
    this.#opened = undefined;
  }

  recordUse(): void {
    if (this.#key !== undefined) this.#services.managedKeys.recordUse(this.#key, this.#login.vm.name);
  }

  async #open(key: ManagedKey): Promise<SigningKey | undefined> {
    const { settings, askSecret, vm } = this.#login;
    try {
      this.#opened = await this.#services.managedKeys.open(
        key,
        askSecret,
        milliseconds(settings.keyLifetime),
      );
      return this.#opened;
    } catch (error) {
      this.#services.log(`${vm.name}: cannot use the key ${key.name}: ${String(error)}`);
      if (error instanceof MintError) this.#failure = error;
      return undefined;
    }
  }
}

/** @param time as ssh.toml has it */
function milliseconds(time: string | undefined): number {
  if (time === undefined) return usualLifetime;
  return Number.parseInt(time, 10) * (units[time.slice(-1)] ?? 1000);
}
