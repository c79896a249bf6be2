/** `access = "injected"`: cloud-init has put the key there, and the agent has held it since `job begin`. */
import { parseHostKey } from '../../ssh/hostkey.ts';
import type { SigningKey } from '../../ssh/key-signature.ts';
import type { RefusalWords } from '../control/protocol.ts';
import { type Credential, type CredentialContext, type Login, loginLimitMs } from './credential.ts';

export class JobCredential implements Credential {
  readonly isSignedElsewhere = false;
  readonly requestId = undefined;
  readonly remainingMs = loginLimitMs;
  readonly #context: Pick<CredentialContext, 'jobs'>;
  readonly #login: Login;
  #granted = false;

  constructor(context: Pick<CredentialContext, 'jobs'>, login: Login) {
    this.#context = context;
    this.#login = login;
  }

  get fingerprint(): string | undefined {
    return this.#key && parseHostKey(this.#key.blob).fingerprint;
  }

  get listed(): Buffer | undefined {
    return this.#key?.blob;
  }

  get signingKey(): SigningKey | undefined {
    return this.#granted ? this.#key : undefined;
  }

  get refusal(): RefusalWords {
    const { vm, user } = this.#login;
    return {
      code: 'login-refused',
      message: `${vm.name} refused the key of its job, or ssh did not offer it, for user ${user}`,
      hint: 'check that cloud-init has finished there, and the user in `mint-ssh job list`',
    };
  }

  async begin(): Promise<void> {
    this.#context.jobs.key(this.#login.vm.name);
  }

  async begun(): Promise<void> {}

  retarget(): void {}

  async authorize(): Promise<undefined> {
    await this.begin();
    this.#granted = true;
  }

  release(): void {}

  recordUse(): void {}

  /** A job that has ended meanwhile has none. */
  get #key(): SigningKey | undefined {
    const { name } = this.#login.vm;
    return this.#context.jobs.open.includes(name) ? this.#context.jobs.key(name) : undefined;
  }
}
