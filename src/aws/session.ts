/** Region, credentials and network of one AWS environment, and the time and the words of a call that uses them. */
import { EC2InstanceConnectClient } from '@aws-sdk/client-ec2-instance-connect';
import { fromNodeProviderChain } from '@aws-sdk/credential-providers';
import { MintError } from '../errors.ts';
import type { Attempt } from './attempt.ts';
import { retryWhereSkewed } from './clock-skew.ts';
import { explainFailure, explainTimeout } from './failure.ts';
import { type RequestHandling, requestHandling } from './network.ts';
import type { Target } from './protocol.ts';

/** What every client of a worker is made with. */
interface ClientOptions {
  readonly profile?: string;
  readonly maxAttempts: number;
  readonly retryMode: 'standard';
  readonly requestHandler: RequestHandling;
}

/**
 * What a target's clients share. The first of them is the one that pushes keys, because that is what a person waits
 * for; it resolves region and credentials for the others as well, so that a credential_process runs once.
 */
export interface Warm {
  readonly client: EC2InstanceConnectClient;
  readonly options: ClientOptions;
  /** Filled by the credential chain while it looks for credentials. */
  readonly tried: string[];
}

export interface Call {
  readonly warm: Warm;
  readonly attempt: Attempt;
  readonly signal: AbortSignal;
}

export class Session {
  readonly #environment: NodeJS.ProcessEnv;
  readonly #warm = new Map<string, Warm>();
  #network: RequestHandling | undefined;

  constructor(environment: NodeJS.ProcessEnv) {
    this.#environment = environment;
  }

  /**
   * Runs `action` with the target's clients. Throws a MintError, in `milliseconds` at the latest.
   *
   * @param operation as IAM names it, such as `ec2:DescribeInstances`
   */
  async call<T>(
    operation: string,
    target: Target & { readonly instanceId?: string; readonly osUser?: string },
    milliseconds: number,
    action: (call: Call) => Promise<T>,
  ): Promise<T> {
    const attempt = this.#begin(operation, target);
    const ended = new AbortController();
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        reject(explainTimeout(attempt, milliseconds));
        ended.abort();
      }, milliseconds);
    });
    try {
      return await Promise.race([this.#run(target, attempt, ended.signal, action), late]);
    } finally {
      clearTimeout(timer);
    }
  }

  async #run<T>(
    target: Target,
    attempt: Attempt,
    signal: AbortSignal,
    action: (call: Call) => Promise<T>,
  ): Promise<T> {
    try {
      return await action({ warm: this.#clients(target), attempt, signal });
    } catch (error) {
      throw error instanceof MintError ? error : explainFailure(error, attempt);
    }
  }

  #begin(operation: string, target: Target & { instanceId?: string; osUser?: string }): Attempt {
    const secrets: string[] = [];
    for (const [name, value] of Object.entries(this.#environment)) {
      if (value !== undefined && /SECRET|TOKEN(?!_FILE)/i.test(name)) secrets.push(value);
    }
    return {
      operation,
      stage: 'region',
      region: this.#region(target),
      profile: target.profile ?? this.#variable('AWS_PROFILE'),
      environmentKeys: this.#variable('AWS_ACCESS_KEY_ID') !== undefined,
      ...(target.instanceId === undefined ? {} : { instanceId: target.instanceId }),
      ...(target.osUser === undefined ? {} : { osUser: target.osUser }),
      secrets,
    };
  }

  #clients(target: Target): Warm {
    const region = this.#region(target);
    const key = JSON.stringify([region, target.profile]);
    const warm = this.#warm.get(key);
    if (warm !== undefined) return warm;
    this.#network ??= requestHandling(this.#environment);
    const tried: string[] = [];
    const profile = target.profile === undefined ? {} : { profile: target.profile };
    const options: ClientOptions = {
      ...profile,
      maxAttempts: 3,
      retryMode: 'standard',
      requestHandler: this.#network,
    };
    const client = new EC2InstanceConnectClient({
      ...options,
      ...(region === undefined ? {} : { region }),
      credentials: fromNodeProviderChain({
        ...profile,
        clientConfig: { requestHandler: this.#network },
        // The metadata service answers at once or, on a laptop, never.
        timeout: 1_000,
        maxRetries: 0,
        logger: listener(tried),
      }),
    });
    const made = { client, options, tried };
    this.#warm.set(key, made);
    return made;
  }

  /** The SDK knows AWS_REGION only; the AWS CLI and its users know AWS_DEFAULT_REGION as well. */
  #region(target: Target): string | undefined {
    return target.region ?? this.#variable('AWS_REGION') ?? this.#variable('AWS_DEFAULT_REGION');
  }

  #variable(name: string): string | undefined {
    return this.#environment[name] || undefined;
  }
}

/**
 * Resolves region and credentials one after the other, so that a failure can say which it was.
 *
 * @returns the account the credentials belong to, where their source says so
 */
export async function prepare({ warm: { client, tried }, attempt }: Call): Promise<string | undefined> {
  attempt.region = await client.config.region();
  attempt.stage = 'credentials';
  attempt.tried = tried;
  tried.length = 0;
  const credentials: Awaited<ReturnType<typeof client.config.credentials>> & {
    $source?: Record<string, string>;
  } = await client.config.credentials();
  attempt.sources = Object.keys(credentials.$source ?? {});
  attempt.secrets.push(credentials.secretAccessKey);
  if (credentials.sessionToken !== undefined) attempt.secrets.push(credentials.sessionToken);
  return credentials.accountId;
}

/**
 * What a command's middleware stack takes so that the attempt knows where its request went, and is made again where it
 * was signed by another clock than AWS's. The endpoint may come from the region, the environment or the profile: the
 * request itself says it best.
 */
export function rememberEndpoint(attempt: Attempt) {
  const middleware =
    <Input extends { request: unknown }, Output>(next: (call: Input) => Promise<Output>) =>
    async (call: Input): Promise<Output> => {
      attempt.stage = 'endpoint';
      attempt.endpoint = originOf(call.request);
      try {
        return await next(call);
      } catch (error) {
        retryWhereSkewed(error, call.request);
        throw error;
      }
    };
  return [middleware, { step: 'finalizeRequest', name: 'rememberEndpoint' }] as const;
}

/** The chain tells its logger, and only that, why each provider had nothing. */
function listener(tried: string[]) {
  const ignore = () => undefined;
  return {
    debug(line: unknown) {
      const reason = /^@smithy\/property-provider \S+ (.*)$/s.exec(String(line))?.[1];
      if (reason !== undefined) tried.push(reason);
    },
    trace: ignore,
    info: ignore,
    warn: ignore,
    error: ignore,
  };
}

function originOf(request: unknown): string | undefined {
  if (typeof request !== 'object' || request === null || !('hostname' in request)) return undefined;
  const port = 'port' in request && typeof request.port === 'number' ? `:${request.port}` : '';
  const protocol = 'protocol' in request ? request.protocol : 'https:';
  return `${protocol}//${request.hostname}${port}`;
}
