import { type SigningKey, signatureFor } from '../ssh/key-signature.ts';
import type { UserauthRequest } from '../ssh/userauth.ts';
import type { Authorisation, Login } from './authorisation.ts';
import { chooseAuthorisation, expectAuthorisation } from './choose-authorisation.ts';
import type { RefusalWords } from './control/protocol.ts';
import { descriptorsAreScarce } from './descriptors.ts';
import { noteLogin } from './login-notes.ts';
import type { SeenHost } from './seen-host.ts';
import type { Services } from './services.ts';

const crowdedOut: RefusalWords = {
  code: 'agent-unavailable',
  message: 'the agent has no file descriptors left for the login',
  hint: 'connect again when other connections have ended; for more of them, where ssh runs: ulimit -n 4096, then: mint-ssh agent stop',
};

/**
 * How the client of one connection gets in: by which authorisation, and with whose signature. That a request to sign
 * belongs to this connection, and that the host there owns its key, has been shown before (binding.ts).
 */
export class Admission {
  readonly #services: Services;
  readonly #login: Login;
  readonly #host: SeenHost;
  #authorisation: Authorisation;
  #isListed = false;
  #hasSigned = false;
  #isSettled = false;
  #hasEnded = false;
  #keyTimer: NodeJS.Timeout | undefined;

  /** @throws MintError where the settings cannot be followed */
  constructor(services: Services, login: Login, host: SeenHost) {
    this.#services = services;
    this.#login = login;
    this.#host = host;
    this.#authorisation = expectAuthorisation(services, login);
  }

  /** The one that holds now. */
  get authorisation(): Authorisation {
    return this.#authorisation;
  }

  /** Between the connection's `open` and its first signature, or the time by which it would have asked for one. */
  get isLoggingIn(): boolean {
    return !this.#login.isEstablished && !this.#hasEnded && !this.#isSettled;
  }

  /** What to tell where the VM did not want the key, or nobody could come for it; undefined where it was neither. */
  get refusal(): RefusalWords | undefined {
    const { isSignedElsewhere, refusal } = this.#authorisation;
    if (isSignedElsewhere || (this.#isListed && !this.#hasSigned)) return refusal;
    const nobodyCame = !this.#isListed && !this.#login.isEstablished;
    return nobodyCame && descriptorsAreScarce() ? crowdedOut : undefined;
  }

  /** Where the connection goes is known, or another place than it was. @throws MintError as `Login.place` */
  choose(): void {
    this.#authorisation = chooseAuthorisation(this.#services, this.#login, this.#authorisation);
  }

  /** Resolves once the VM lets the client in, and will for long enough. Gives and throws what its `grant` does. */
  async grant(): Promise<number | undefined> {
    const milliseconds = await this.#authorisation.grant();
    // A session may last for days and never have asked for a signature: the key is not kept for it.
    clearTimeout(this.#keyTimer);
    this.#keyTimer = setTimeout(() => this.#settle(), this.#authorisation.remaining).unref();
    return milliseconds;
  }

  /** The VM's socket has listed its key to a client, which may have been this connection's. */
  noteListed(): void {
    if (this.#host.exchange !== undefined) this.#isListed = true;
  }

  /**
   * The signature for a login, in the form of RFC 4253 §6.6; undefined where none is due to this user now. A promise
   * only where a person has to be asked first.
   * @throws MintError where the pin cannot be written; then nothing is signed
   */
  sign(
    request: UserauthRequest,
    data: Buffer,
    flags: number,
  ): Buffer | undefined | Promise<Buffer | undefined> {
    if (request.user !== this.#login.user) return undefined;
    const key = this.#authorisation.signingKey;
    return key instanceof Promise
      ? key.then((opened) => this.#signWith(opened, request, data, flags))
      : this.#signWith(key, request, data, flags);
  }

  /** The connection has ended. */
  end(): void {
    this.#hasEnded = true;
    clearTimeout(this.#keyTimer);
    this.#settle();
  }

  #signWith(
    key: SigningKey | undefined,
    request: UserauthRequest,
    data: Buffer,
    flags: number,
  ): Buffer | undefined {
    if (key === undefined || this.#hasEnded || !request.publicKey.equals(key.blob)) return undefined;
    const signature = signatureFor(key, request.algorithm, data, flags);
    if (signature === undefined) return undefined;
    const isFirst = !this.#hasSigned;
    this.#hasSigned = true;
    this.#host.proven();
    this.#settle();
    if (isFirst) noteLogin(this.#services, this.#login, this.#authorisation);
    return signature;
  }

  #settle(): void {
    this.#isSettled = true;
    this.#authorisation.settle();
  }
}
