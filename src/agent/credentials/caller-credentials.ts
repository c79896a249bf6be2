/**
 * The AWS credentials of the agent's callers, in memory only and until they expire.
 *
 * Keys in the environment or in a file are used directly. For every other source the agent asks the proxy of a login that
 * needs them to start `mint-ssh credentials`, which runs in the caller's environment, working directory and terminal
 * and hands its result over on the control socket. Logins that need the same credentials wait for one result.
 */
import { randomBytes } from 'node:crypto';
import type { Configuration, CredentialSource } from '../../aws/aws.ts';
import { chooseSource, filesStamp } from '../../aws/credentials.ts';
import type { Credentials, Source, Target } from '../../aws/requests.ts';
import { MintError } from '../../errors.ts';
import { type Caller, type CredentialResolver, environmentKey } from '../../platform/caller.ts';
import type { SharedCredentials } from '../control/protocol.ts';

/** Credentials that expire sooner are not used for another login. */
const minRemainingMs = 60_000;
/** Credentials without an expiry time are resolved again after this time. */
const unlimitedForMs = 15 * 60_000;
/** How often a waiting proxy is told that its request is still in progress. */
const keepAliveMs = 5_000;
/** How many sets of credentials are kept. */
const maxKnown = 64;

interface Known {
  readonly credentials: Credentials;
  /** The state of the caller's AWS files when the credentials were resolved. */
  readonly stamp: string;
}

export class CallerCredentials implements CredentialSource {
  /** The least recently used first. */
  readonly #known = new Map<string, Known>();
  /** The source of the last credentials, by environment and profile. */
  readonly #sources = new Map<string, Source>();
  readonly #resolutions = new Map<string, Resolution>();
  /** The resolutions in progress, by id. */
  readonly #byId = new Map<string, Resolution>();

  async get(caller: Caller, configuration: Configuration, target: Target): Promise<Credentials> {
    const { profiles, stamp } = configuration;
    const { source, atHand } = chooseSource(caller.environment, profiles, target.profile);
    const base = baseKey(configuration.key, target.profile);
    this.#noteSource(base, source);
    const key = this.#scopeOf(base, caller);
    const known = this.#fresh(key, stamp);
    if (atHand !== undefined)
      return known !== undefined && isSame(known, atHand) ? known : this.#keep(key, atHand, stamp);
    return known ?? (await this.#resolve(caller, key, target, stamp));
  }

  current(caller: Caller, explicit: string | undefined): Credentials | undefined {
    return this.#fresh(this.scope(caller, explicit), filesStamp(caller.environment));
  }

  forget(credentials: Credentials): void {
    for (const [key, known] of this.#known) if (known.credentials === credentials) this.#known.delete(key);
  }

  scope(caller: Caller, explicit: string | undefined): string {
    return this.#scopeOf(baseKey(environmentKey(caller.environment), explicit), caller);
  }

  /** A command of this caller has resolved the credentials for a profile. */
  share({ credentials, profile, stamp, ...caller }: SharedCredentials): void {
    if (stamp !== filesStamp(caller.environment)) return;
    const base = baseKey(environmentKey(caller.environment), profile);
    this.#noteSource(base, credentials.source);
    this.#keep(this.#scopeOf(base, caller), withExpiry(credentials), stamp);
  }

  /** A connection has ended and can no longer resolve credentials. */
  leave(resolver: CredentialResolver): void {
    for (const resolution of this.#resolutions.values()) resolution.leave(resolver);
  }

  /**
   * `mint-ssh credentials` has connected.
   * @returns undefined if no login waits for its result
   */
  resolution(id: string): Resolution | undefined {
    return this.#byId.get(id);
  }

  /** A credential_process may depend on any variable and on the working directory; other sources do not. */
  #scopeOf(base: string, { session }: Caller): string {
    return this.#sources.get(base)?.runsProcess ? `${base} ${session ?? ''}` : base;
  }

  /** @param stamp before they are resolved: a file that changes meanwhile makes them outdated */
  async #resolve(caller: Caller, key: string, target: Target, stamp: string): Promise<Credentials> {
    const { resolver } = caller;
    let resolution = this.#resolutions.get(key);
    if (resolution === undefined) {
      if (!resolver?.isAvailable) throw noResolver();
      resolution = new Resolution(target);
      this.#begin(key, resolution, stamp);
    }
    if (resolver?.isAvailable) resolution.join(resolver);
    return await resolution.result;
  }

  #begin(key: string, resolution: Resolution, stamp: string): void {
    this.#resolutions.set(key, resolution);
    this.#byId.set(resolution.id, resolution);
    const done = () => {
      this.#resolutions.delete(key);
      this.#byId.delete(resolution.id);
    };
    resolution.result.then((credentials) => {
      done();
      this.#keep(key, withExpiry(credentials), stamp);
    }, done);
  }

  #keep(key: string, credentials: Credentials, stamp: string): Credentials {
    this.#known.delete(key);
    this.#known.set(key, { credentials, stamp });
    const [oldest] = this.#known.keys();
    if (this.#known.size > maxKnown && oldest !== undefined) this.#known.delete(oldest);
    return credentials;
  }

  #fresh(key: string, stamp: string): Credentials | undefined {
    const known = this.#known.get(key);
    if (known === undefined) return undefined;
    const { expiresAt } = known.credentials;
    const isFresh = expiresAt === undefined || expiresAt - Date.now() > minRemainingMs;
    if (isFresh && known.stamp === stamp) return known.credentials;
    this.#known.delete(key);
    return undefined;
  }

  #noteSource(base: string, source: Source): void {
    this.#sources.delete(base);
    this.#sources.set(base, source);
    const [oldest] = this.#sources.keys();
    if (this.#sources.size > maxKnown && oldest !== undefined) this.#sources.delete(oldest);
  }
}

/** One request for credentials, for whose result one or more logins wait. */
export class Resolution {
  readonly id = randomBytes(16).toString('hex');
  readonly result: Promise<Credentials>;
  readonly #target: Target;
  readonly #waiting = new Set<CredentialResolver>();
  /** The resolvers that have been asked. */
  readonly #asked = new Set<CredentialResolver>();
  readonly #succeed: (credentials: Credentials) => void;
  readonly #fail: (error: MintError) => void;
  readonly #keepAlive: NodeJS.Timeout;
  #active: CredentialResolver | undefined;
  #isAttached = false;
  #isSettled = false;
  #line: string | undefined;

  constructor(target: Target) {
    const { promise, resolve, reject } = Promise.withResolvers<Credentials>();
    this.result = promise;
    promise.catch(() => {});
    this.#target = target;
    this.#succeed = resolve;
    this.#fail = reject;
    this.#keepAlive = setInterval(() => this.#tellAll(undefined), keepAliveMs).unref();
  }

  /** Adds a login that waits. The first one is asked to resolve. */
  join(resolver: CredentialResolver): void {
    if (this.#isSettled || this.#waiting.has(resolver)) return;
    this.#waiting.add(resolver);
    if (this.#line !== undefined) resolver.tell(this.#line);
    if (this.#active === undefined && !this.#isAttached) this.#askNext();
  }

  leave(resolver: CredentialResolver): void {
    if (!this.#waiting.delete(resolver) || this.#active !== resolver) return;
    this.#active = undefined;
    // A process that has started finishes, and its result serves the next login.
    if (!this.#isAttached) this.#askNext();
  }

  /** `mint-ssh credentials` has connected. */
  attach(): void {
    this.#isAttached = true;
  }

  /** The process has ended. If it had connected, the end of its connection decides instead. */
  ended(): void {
    if (!this.#isAttached) this.detach();
  }

  /** The connection has ended; after `settle` this has no effect. */
  detach(): void {
    this.#isAttached = false;
    this.#active = undefined;
    this.#askNext();
  }

  tell(line: string): void {
    this.#line = line;
    this.#tellAll(line);
  }

  settle(result: Credentials | MintError): void {
    clearInterval(this.#keepAlive);
    this.#isSettled = true;
    if (result instanceof MintError) this.#fail(result);
    else this.#succeed(result);
  }

  #askNext(): void {
    if (this.#isSettled) return;
    const next = [...this.#waiting].find((each) => each.isAvailable && !this.#asked.has(each));
    if (next === undefined) {
      this.settle(noResolver());
      return;
    }
    this.#active = next;
    this.#asked.add(next);
    next.resolve(this.id, this.#target);
  }

  #tellAll(line: string | undefined): void {
    for (const resolver of this.#waiting) resolver.tell(line);
  }
}

function withExpiry(credentials: Credentials): Credentials {
  const { expiresAt = Date.now() + unlimitedForMs } = credentials;
  // The same object: a login that already uses it must be able to forget it.
  return Object.assign(credentials, { expiresAt });
}

/** @param environment from `environmentKey` */
function baseKey(environment: string, explicit: string | undefined): string {
  return JSON.stringify([environment, explicit ?? null]);
}

function isSame(one: Credentials, other: Credentials): boolean {
  return (
    one.accessKeyId === other.accessKeyId &&
    one.secretAccessKey === other.secretAccessKey &&
    one.sessionToken === other.sessionToken
  );
}

function noResolver(): MintError {
  return new MintError(
    'aws-credentials',
    'the agent has no AWS credentials for this, and no login to ask for them',
    {
      hint: 'connect again',
    },
  );
}
