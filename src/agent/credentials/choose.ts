/**
 * Which credential a connection has. ssh.toml decides first (`access`, `identity`); else a managed key that is stored
 * under the instance's own KeyName is used; else an ephemeral key is pushed.
 */

import { descriptorsAreScarce } from '../../platform/descriptors.ts';
import { loadSettings, type VmSettings } from '../../settings/settings.ts';
import { type SigningKey, signatureFor } from '../../ssh/key-signature.ts';
import type { UserauthRequest } from '../../ssh/userauth.ts';
import { recordLogin } from '../audit-events.ts';
import type { RefusalWords } from '../control/protocol.ts';
import type { ConnectionHost } from '../host-key-check.ts';
import type { Vm } from '../vm-socket.ts';
import { type Credential, type CredentialContext, type Login, nothingToDo } from './credential.ts';
import { JobCredential } from './job.ts';
import { ManagedCredential } from './managed.ts';
import { installedOwnKey, pushedOwnKey } from './own.ts';
import { ephemeralKey, PushedCredential } from './pushed.ts';

const keyPrefix = 'key:';
/** How long after a signature the next key is kept for the client. sshd answers a refused one within a few seconds. */
const refusedLimitMs = 15_000;

/** The profile of `access = "key:…"`. */
export function profileOf({ access }: Pick<VmSettings, 'access'>): string | undefined {
  return access?.startsWith(keyPrefix) ? access.slice(keyPrefix.length) : undefined;
}

/**
 * The credential by the settings alone, before the target is known.
 * @throws MintError `bad-settings`, `key-private` or `key-invalid` for an `identity` that cannot be used
 */
function byTheSettings(context: CredentialContext, login: Login): Credential {
  if (login.isEstablished) return alreadyAuthorized;
  const { access, identity } = login.settings;
  const profile = profileOf(login.settings);
  if (profile !== undefined) return new ManagedCredential(context, login, { profile });
  if (access === 'injected')
    return identity === undefined ? new JobCredential(context, login) : installedOwnKey(login, identity);
  const key = identity === undefined ? ephemeralKey(login) : pushedOwnKey(login, identity);
  return new PushedCredential(context, login, key);
}

/**
 * The credential once the target is known, and again whenever it changes.
 * @param current is replaced if the instance's KeyName requires another one
 */
function byTheTarget(context: CredentialContext, login: Login, current: Credential): Credential {
  const { vm, settings, isEstablished, caller } = login;
  if (isEstablished || settings.access !== undefined || settings.identity !== undefined) return current;
  const { keyName } = login.resolved();
  vm.keyName = keyName !== undefined && context.managedKeys.has(caller, keyName) ? keyName : undefined;
  const served = current instanceof ManagedCredential ? current.awsKeyName : undefined;
  if (served === vm.keyName) return current;
  current.release();
  return vm.keyName === undefined
    ? byTheSettings(context, login)
    : new ManagedCredential(context, login, { awsKeyName: vm.keyName });
}

/** The public keys that the next connection to a VM will use, for clients that list keys before they connect. */
export function expectedKeys(context: CredentialContext, vm: Vm): readonly Buffer[] {
  const { access, identity, ...settings } = loadSettings(context.paths, {}).named(vm.name);
  vm.key.use(settings.keyType);
  const profile = profileOf({ access });
  const awsKeyName = access === undefined ? vm.keyName : undefined;
  const which = profile !== undefined ? { profile } : awsKeyName !== undefined ? { awsKeyName } : undefined;
  if (identity !== undefined) return [];
  const { name, user, instance, region } = settings;
  const to = { name, user, instance, region };
  if (which !== undefined) return context.managedKeys.listed(process.env, which, to);
  if (access === 'injected')
    return context.jobs.open.includes(vm.name) ? [context.jobs.key(vm.name).blob] : [];
  return [vm.key.list().blob];
}

/** A session that an earlier agent authorized. */
const alreadyAuthorized: Credential = {
  ...nothingToDo,
  fingerprint: undefined,
  isSignedElsewhere: false,
  listed: undefined,
  signingKey: undefined,
  remainingMs: 0,
  refusal: { code: 'login-refused', message: 'the login was over before', hint: 'connect again' },
};

const outOfDescriptors: RefusalWords = {
  code: 'agent-unavailable',
  message: 'the agent has no file descriptors left for the login',
  hint: 'connect again when other connections have ended; for more of them, where ssh runs: ulimit -n 4096, then: mint-ssh agent stop',
};

/** The client continued after the key exchange and never connected to the agent's socket. */
function keyNotAskedFor(vm: string): RefusalWords {
  return {
    code: 'login-refused',
    message: `the login to ${vm} ended, and ssh never asked the mint-ssh agent for its key`,
    hint:
      'the client needs IdentityAgent beside ProxyCommand, as in the block that `mint-ssh ssh-config` writes; ' +
      '-o IdentityAgent=none turns it off',
  };
}

/**
 * The credential of one connection over its life: which one it is now, and its signature. That a request to sign
 * belongs to this connection, and that the host there owns its key, has been checked before (vm-socket.ts).
 */
export class ConnectionCredential {
  readonly #context: CredentialContext;
  readonly #login: Login;
  readonly #host: ConnectionHost;
  #current: Credential;
  #isListed = false;
  /** A client has had a valid request for a signature, even if the pin could then not be written. */
  #wasAsked = false;
  /** The public keys that have signed, in base64. */
  readonly #signed = new Set<string>();
  #isReleased = false;
  #hasEnded = false;
  #keyTimer: NodeJS.Timeout | undefined;

  /** @throws MintError `bad-settings`, `key-private` or `key-invalid` for an `identity` that cannot be used */
  constructor(context: CredentialContext, login: Login, host: ConnectionHost) {
    this.#context = context;
    this.#login = login;
    this.#host = host;
    this.#current = byTheSettings(context, login);
  }

  get current(): Credential {
    return this.#current;
  }

  /** The public keys that the VM's socket lists for this connection, in the order in which a client tries them. */
  get listed(): readonly Buffer[] {
    return this.#offered.flatMap(({ listed }) => listed ?? []);
  }

  get #offered(): readonly Credential[] {
    return [this.#current, ...(this.#current.fallbacks ?? [])];
  }

  /** Between the connection's `open` and its first signature, or the time by which it would have asked for one. */
  get isLoggingIn(): boolean {
    return !this.#login.isEstablished && !this.#hasEnded && !this.#isReleased && this.#signed.size === 0;
  }

  /**
   * What to tell the user if the VM refuses the key, or no client could ask for it; undefined if neither can be. The proxy
   * asks for it in every login, before the VM has answered.
   */
  get refusal(): RefusalWords | undefined {
    const { isSignedElsewhere, refusal } = this.#current;
    if (isSignedElsewhere || this.#isUnsigned) return refusal;
    return this.#wasNeverAsked && descriptorsAreScarce() ? outOfDescriptors : undefined;
  }

  get #isUnsigned(): boolean {
    return this.#isListed && !this.#wasAsked;
  }

  /** The login has ended early: if the VM refused the key, records that. */
  recordRefusal(): void {
    if (this.#isUnsigned) this.#current.recordRefusal?.();
  }

  /** What to tell the user about a login that ended early, although it is not known that the VM refused it. */
  get explanation(): RefusalWords | undefined {
    const isUnused = this.#wasNeverAsked && this.#host.hasProceeded;
    return isUnused ? keyNotAskedFor(this.#login.vm.name) : undefined;
  }

  get #wasNeverAsked(): boolean {
    return !this.#isListed && !this.#login.isEstablished;
  }

  /**
   * The target is known, or has changed.
   * @throws MintError as `Login.resolved`
   */
  choose(): void {
    this.#current = byTheTarget(this.#context, this.#login, this.#current);
  }

  /**
   * Resolves once the VM accepts the client's key and will do so for long enough.
   * @returns milliseconds, as `Credential.authorize`
   * @throws MintError as `Credential.authorize`
   */
  async authorize(): Promise<number | undefined> {
    const milliseconds = await this.#current.authorize();
    // A session may last for days without asking for a signature, and the key is not kept for that.
    this.#releaseIn(this.#current.remainingMs);
    return milliseconds;
  }

  /** The VM's socket has listed its key to a client, which may be the one of this connection. */
  noteListed(): void {
    if (this.#host.exchange !== undefined) this.#isListed = true;
  }

  /**
   * Signs a login, at most once with each key. A client may sign without asking the VM first whether it would accept
   * the key, and then asks for the next key only if the VM has refused this one.
   * @returns the signature in the form of RFC 4253 §6.6; undefined if this user gets none now; a promise only if the user
   *   has to be asked first
   * @throws MintError `io-failed` or `unsafe-permissions` if the pin cannot be written; then nothing is signed
   */
  sign(
    request: UserauthRequest,
    data: Buffer,
    flags: number,
  ): Buffer | undefined | Promise<Buffer | undefined> {
    if (request.user !== this.#login.user) return undefined;
    const credential = this.#offered.find(({ listed }) => listed?.equals(request.publicKey));
    if (credential === undefined || this.#isUsed(request.publicKey)) return undefined;
    const key = credential.signingKey;
    const sign = (unlocked: SigningKey | undefined) =>
      this.#signWith(credential, unlocked, request, data, flags);
    return key instanceof Promise ? key.then(sign) : sign(key);
  }

  /** The connection has ended. */
  end(): void {
    this.#hasEnded = true;
    clearTimeout(this.#keyTimer);
    this.#release();
  }

  #signWith(
    credential: Credential,
    key: SigningKey | undefined,
    request: UserauthRequest,
    data: Buffer,
    flags: number,
  ): Buffer | undefined {
    if (key === undefined || this.#hasEnded || !request.publicKey.equals(key.blob)) return undefined;
    // Another request may have been signed while the user was asked for the passphrase.
    if (this.#isUsed(key.blob)) return undefined;
    const signature = signatureFor(key, request.algorithm, data, flags);
    if (signature === undefined) return undefined;
    this.#wasAsked = true;
    this.#host.proven();
    this.#signed.add(request.publicKey.toString('base64'));
    const isLast = this.#offered.every(({ listed }) => listed === undefined || this.#isUsed(listed));
    if (isLast) this.#release();
    else this.#releaseIn(refusedLimitMs);
    if (credential instanceof PushedCredential && credential !== this.#current) this.#noteFallback();
    recordLogin(this.#context, this.#login, credential);
    return signature;
  }

  #isUsed(publicKey: Buffer): boolean {
    return this.#signed.has(publicKey.toString('base64'));
  }

  /**
   * The client has asked for the last key: it was refused the ones before, or the VM wants two keys, which counts as a
   * refusal too and makes the next login offer both again.
   */
  #noteFallback(): void {
    const { name } = this.#login.vm;
    this.#current.recordRefusal?.();
    this.#login.tell(
      `${name} asked for another key than the managed key of its KeyName: used the one pushed through EC2 Instance Connect`,
    );
  }

  #releaseIn(milliseconds: number): void {
    clearTimeout(this.#keyTimer);
    this.#keyTimer = setTimeout(() => this.#release(), milliseconds).unref();
  }

  #release(): void {
    this.#isReleased = true;
    this.#current.release();
  }
}
