/** EC2 Instance Connect as one AWS environment sees it. Runs in a worker, whose environment is a caller's. */
import { EC2InstanceConnectClient, SendSSHPublicKeyCommand } from '@aws-sdk/client-ec2-instance-connect';
import { fromNodeProviderChain } from '@aws-sdk/credential-providers';
import { MintError } from '../errors.ts';
import type { Attempt } from './attempt.ts';
import { explainFailure, explainTimeout } from './failure.ts';
import { type RequestHandling, requestHandling } from './network.ts';
import type { PushReply, PushRequest, Target } from './protocol.ts';

interface Warm {
  readonly client: EC2InstanceConnectClient;
  /** Filled by the credential chain while it looks for credentials. */
  readonly tried: string[];
}

export class InstanceConnect {
  readonly #environment: NodeJS.ProcessEnv;
  readonly #clients = new Map<string, Warm>();
  #network: RequestHandling | undefined;

  constructor(environment: NodeJS.ProcessEnv) {
    this.#environment = environment;
  }

  /** Resolves region and credentials, so that the push that follows need not; throws as `push` does. */
  async warm(target: Target, milliseconds: number): Promise<void> {
    await this.#attempt(target, milliseconds, async (warm, attempt) => {
      await this.#prepare(warm, attempt);
    });
  }

  /** Authorises the key for 60 s (SendSSHPublicKey). Throws a MintError, in `milliseconds` at the latest. */
  async push(request: PushRequest, milliseconds: number): Promise<PushReply> {
    return await this.#attempt(request, milliseconds, async (warm, attempt, signal) => {
      attempt.instanceId = request.instanceId;
      attempt.osUser = request.osUser;
      const account = await this.#prepare(warm, attempt);
      const command = new SendSSHPublicKeyCommand({
        InstanceId: request.instanceId,
        InstanceOSUser: request.osUser,
        SSHPublicKey: request.publicKey,
      });
      // The endpoint may come from the region, the environment or the profile: the request itself says it best.
      command.middlewareStack.add(
        (next) => async (call) => {
          attempt.stage = 'endpoint';
          attempt.endpoint = originOf(call.request);
          return await next(call);
        },
        { step: 'finalizeRequest', name: 'rememberEndpoint' },
      );
      const answer = await warm.client.send(command, { abortSignal: signal });
      if (answer.Success !== true) throw new Error('AWS answered that the key was not accepted');
      const requestId = answer.RequestId ?? answer.$metadata.requestId ?? '';
      return account === undefined ? { requestId } : { requestId, account };
    });
  }

  async #attempt<T>(
    target: Target,
    milliseconds: number,
    action: (warm: Warm, attempt: Attempt, signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const attempt = this.#begin(target);
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
    action: (warm: Warm, attempt: Attempt, signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    try {
      return await action(this.#client(target), attempt, signal);
    } catch (error) {
      throw error instanceof MintError ? error : explainFailure(error, attempt);
    }
  }

  #begin(target: Target): Attempt {
    const secrets: string[] = [];
    for (const [name, value] of Object.entries(this.#environment)) {
      if (value !== undefined && /SECRET|TOKEN(?!_FILE)/i.test(name)) secrets.push(value);
    }
    return {
      stage: 'region',
      region: this.#region(target),
      profile: target.profile ?? this.#variable('AWS_PROFILE'),
      environmentKeys: this.#variable('AWS_ACCESS_KEY_ID') !== undefined,
      secrets,
    };
  }

  /** Resolves region and credentials one after the other, so that a failure can say which it was. */
  async #prepare({ client, tried }: Warm, attempt: Attempt): Promise<string | undefined> {
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

  #client(target: Target): Warm {
    const region = this.#region(target);
    const key = JSON.stringify([region, target.profile]);
    const warm = this.#clients.get(key);
    if (warm !== undefined) return warm;
    this.#network ??= requestHandling(this.#environment);
    const tried: string[] = [];
    const profile = target.profile === undefined ? {} : { profile: target.profile };
    const client = new EC2InstanceConnectClient({
      ...profile,
      ...(region === undefined ? {} : { region }),
      maxAttempts: 3,
      retryMode: 'standard',
      requestHandler: this.#network,
      credentials: fromNodeProviderChain({
        ...profile,
        clientConfig: { requestHandler: this.#network },
        // The metadata service answers at once or, on a laptop, never.
        timeout: 1_000,
        maxRetries: 0,
        logger: listener(tried),
      }),
    });
    const made = { client, tried };
    this.#clients.set(key, made);
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
