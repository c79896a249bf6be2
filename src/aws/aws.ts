/** AWS calls on behalf of callers: each call uses the credentials and the settings of its caller. */
import { setTimeout as sleep } from 'node:timers/promises';
import { MintError } from '../errors.ts';
import { type Caller, environmentKey } from '../platform/caller.ts';
import { Clients, clientSettings } from './clients.ts';
import { filesStamp, type Profiles, readProfiles } from './credentials.ts';
import { type Attempt, dependsOnIdentity, explainFailure, explainTimeout } from './errors.ts';
import { type Operation, operations } from './operations.ts';
import type { Credentials, Identity, Target } from './requests.ts';

/** What a caller has set for AWS, read once for each call. */
export interface Configuration {
  readonly profiles: Profiles;
  /** From `filesStamp`, before the files were read. */
  readonly stamp: string;
  /** From `environmentKey`. */
  readonly key: string;
}

/** Where a caller's credentials come from: the agent is given them, a command resolves its own. */
export interface CredentialSource {
  /**
   * @param target with the profile of `--profile` or ssh.toml, where there is one
   * @throws MintError `aws-credentials` and others, as `resolveCredentials`
   */
  get(caller: Caller, configuration: Configuration, target: Target): Promise<Credentials>;
  /** The credentials that `get` would return at once. */
  current(caller: Caller, explicit: string | undefined): Credentials | undefined;
  /** Called if AWS has refused them: they are not returned again. */
  forget(credentials: Credentials): void;
  /** Equal for two callers that get the same credentials for the same reasons. */
  scope(caller: Caller, explicit: string | undefined): string;
}

/** How long one call may take once its credentials are there. */
const callLimitMs = 10_000;
/** Credentials that AWS refuses are resolved a second time if they have been known for longer than this. */
const freshMs = 5_000;
/** How long a failure waits to learn which identity it concerns. */
const identityLimitMs = 2_000;
/** How many sets of clients are kept. A caller has one set for each profile and region. */
const maxClients = 16;

type Run<Request, Reply> = (request: Request) => Promise<Reply>;
type RequestOf<O> = O extends Operation<infer Request, infer _> ? Request : never;
type ReplyOf<O> = O extends Operation<infer _, infer Reply> ? Reply : never;
type Operations = typeof operations;
type Method<O> = (caller: Caller, request: RequestOf<O>) => Promise<ReplyOf<O>>;

/** Every method rejects with a MintError, at most 10.5 s after the credentials are there. */
export class Aws {
  readonly push = this.#method('push');
  readonly describeVms = this.#method('describeVms');
  readonly images = this.#method('images');
  readonly consoleOutput = this.#method('consoleOutput');
  readonly startInstance = this.#method('startInstance');
  readonly endInstance = this.#method('endInstance');
  readonly setShutdown = this.#method('setShutdown');
  readonly table = this.#method('table');
  readonly keyPair = this.#method('keyPair');
  readonly importKeyPair = this.#method('importKeyPair');
  readonly deleteKeyPair = this.#method('deleteKeyPair');
  readonly tunnel = this.#method('tunnel');

  readonly #credentials: CredentialSource;
  /** By settings and access key, the longest unused first. */
  readonly #clients = new Map<string, Clients>();
  readonly #identities = new WeakMap<Credentials, Identity>();
  /** When credentials were first used. */
  readonly #since = new WeakMap<Credentials, number>();
  readonly #profiles = new Map<string, { readonly stamp: string; readonly profiles: Promise<Profiles> }>();

  constructor(credentials: CredentialSource) {
    this.#credentials = credentials;
  }

  /** @returns the caller's identity, which AWS is asked for once for each set of credentials */
  async identity(caller: Caller, { region, profile }: Target): Promise<Identity> {
    const { credentials } = await this.#prepare(caller, { region, profile });
    const known = this.#identities.get(credentials);
    if (known !== undefined) return known;
    const identity = await this.#call(caller, operations.identity, { region, profile });
    // A retry may have used other credentials.
    const used = this.#credentials.current(caller, profile);
    if (used !== undefined) this.#identities.set(used, identity);
    return identity;
  }

  /** @returns the identity, if AWS was already asked with the current credentials */
  knownIdentity(caller: Caller, { profile }: Target): Identity | undefined {
    const credentials = this.#credentials.current(caller, profile);
    return credentials && this.#identities.get(credentials);
  }

  /**
   * Resolves once the caller's credentials are resolved, without returning them.
   * @throws MintError `aws-credentials`, `bad-settings`, and the others that a call can throw
   */
  async ready(caller: Caller, target: Target): Promise<void> {
    await this.#prepare(caller, target);
  }

  /** @returns a key that is equal for two callers with the same AWS permissions */
  scope(caller: Caller, { profile }: Target): string {
    return this.#credentials.scope(caller, profile);
  }

  /** Closes all connections. */
  async close(): Promise<void> {
    for (const clients of this.#clients.values()) clients.close();
    this.#clients.clear();
  }

  #method<Name extends keyof Operations>(name: Name): Method<Operations[Name]> {
    const operation = operations[name] as unknown as Operation<
      RequestOf<Operations[Name]>,
      ReplyOf<Operations[Name]>
    >;
    return (caller, request) => this.#call(caller, operation, request as never);
  }

  /**
   * Credentials that AWS refuses are forgotten, and resolved and tried once more where they were old: after
   * `aws sso login` the next connection succeeds.
   */
  async #call<Request extends Target, Reply>(
    caller: Caller,
    operation: Operation<Request, Reply>,
    request: Request,
  ): Promise<Reply> {
    const clients = await this.#prepare(caller, request);
    try {
      return await this.#once(clients, operation, request);
    } catch (error) {
      if (!(error instanceof MintError) || error.code !== 'aws-credentials') throw error;
      const { credentials } = clients;
      this.#credentials.forget(credentials);
      if (performance.now() - (this.#since.get(credentials) ?? 0) < freshMs) throw error;
    }
    return await this.#once(await this.#prepare(caller, request), operation, request);
  }

  async #once<Request extends Target, Reply>(
    clients: Clients,
    operation: Operation<Request, Reply>,
    request: Request,
  ): Promise<Reply> {
    const attempt = attemptOf(clients, operation, request);
    const ended = new AbortController();
    const late = sleep(callLimitMs, undefined, { signal: ended.signal, ref: false }).then(() => {
      throw explainTimeout(attempt, callLimitMs);
    });
    late.catch(() => {});
    const run: Run<Request, Reply> = async (asked) =>
      operation.run({ clients, attempt, signal: ended.signal }, asked);
    try {
      return await Promise.race([run(request), late]);
    } catch (error) {
      if (dependsOnIdentity(error)) attempt.identity = await this.#nameIdentity(clients);
      throw explainFailure(error, attempt);
    } finally {
      ended.abort();
    }
  }

  /** The ARN for a message; without one after a moment the message does without. */
  async #nameIdentity(clients: Clients): Promise<string | undefined> {
    const { credentials } = clients;
    const known = this.#identities.get(credentials);
    if (known !== undefined) return known.arn;
    const attempt = attemptOf(clients, operations.identity, {});
    const signal = AbortSignal.timeout(identityLimitMs);
    try {
      const identity = await operations.identity.run({ clients, attempt, signal }, {});
      this.#identities.set(credentials, identity);
      return identity.arn;
    } catch {
      return undefined;
    }
  }

  async #prepare(caller: Caller, target: Target): Promise<Clients> {
    const configuration = await this.#read(caller.environment);
    const settings = clientSettings(caller.environment, configuration.profiles, target);
    const credentials = await this.#credentials.get(caller, configuration, target);
    if (!this.#since.has(credentials)) this.#since.set(credentials, performance.now());
    const { region, profile } = settings;
    const key = JSON.stringify([
      configuration.key,
      configuration.stamp,
      region,
      profile,
      credentials.accessKeyId,
      credentials.sessionToken,
    ]);
    const found = this.#clients.get(key);
    // The same key from another source is another set of credentials: their failures are explained differently.
    const clients =
      found?.credentials === credentials ? found : new Clients(caller.environment, settings, credentials);
    this.#clients.delete(key);
    this.#clients.set(key, clients);
    const [oldest] = this.#clients.keys();
    if (this.#clients.size > maxClients && oldest !== undefined) this.#clients.delete(oldest);
    return clients;
  }

  /** The caller's AWS files are read again where one of them has changed. */
  async #read(environment: Caller['environment']): Promise<Configuration> {
    const stamp = filesStamp(environment);
    const key = environmentKey(environment);
    const known = this.#profiles.get(key);
    if (known?.stamp === stamp) return { profiles: await known.profiles, stamp, key };
    const { loadSharedConfigFiles } = await import('./push-sdk.ts');
    const profiles = readProfiles(environment, loadSharedConfigFiles);
    this.#profiles.delete(key);
    this.#profiles.set(key, { stamp, profiles });
    const [oldest] = this.#profiles.keys();
    if (this.#profiles.size > maxClients && oldest !== undefined) this.#profiles.delete(oldest);
    return { profiles: await profiles, stamp, key };
  }
}

function attemptOf<Request extends Target, Reply>(
  { settings, credentials }: Clients,
  { action }: Operation<Request, Reply>,
  request: Request,
): Attempt {
  const { instanceId, osUser, ids } = request as {
    readonly instanceId?: string;
    readonly osUser?: string;
    readonly ids?: readonly string[];
  };
  const { secretAccessKey, sessionToken } = credentials;
  return {
    operation: typeof action === 'string' ? action : action(request),
    region: settings.region,
    profile: settings.profile,
    source: credentials.source,
    instanceId: instanceId ?? (ids?.length === 1 ? ids[0] : undefined),
    osUser,
    secrets: sessionToken === undefined ? [secretAccessKey] : [secretAccessKey, sessionToken],
  };
}
