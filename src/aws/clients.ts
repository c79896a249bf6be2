/**
 * The SDK's clients for one caller's settings and credentials.
 *
 * Every setting is given to a client explicitly. The agent serves several callers in one process, so a client must
 * take nothing from this process's environment or from this user's AWS files.
 */
import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import type { EC2Client } from '@aws-sdk/client-ec2';
import type { EC2InstanceConnectClient } from '@aws-sdk/client-ec2-instance-connect';
import type { STSClient } from '@aws-sdk/client-sts';
import { MintError } from '../errors.ts';
import { type Profiles, requireProfile, sectionOf } from './credentials.ts';
import type { Attempt } from './errors.ts';
import { networkOf, type RequestHandling } from './network.ts';
import type { Credentials, Target } from './requests.ts';

/** A service, by its name in AWS_ENDPOINT_URL_… and in a `services` section. */
type Service = 'EC2_INSTANCE_CONNECT' | 'EC2' | 'STS' | 'DYNAMODB';

type Environment = Readonly<Record<string, string | undefined>>;

export interface ClientSettings {
  readonly region: string;
  /** The explicit profile, or the one that the environment names. */
  readonly profile: string | undefined;
  readonly endpoint: (service: Service) => string | undefined;
  readonly useFips: boolean;
  readonly useDualstack: boolean;
  readonly caBundle: string | undefined;
}

/**
 * The settings that are not credentials. An environment variable overrides the profile's setting.
 * @throws MintError `aws-credentials` where the profile does not exist, `bad-settings` where no region is set
 */
export function clientSettings(environment: Environment, profiles: Profiles, target: Target): ClientSettings {
  const profile = requireProfile(environment, profiles, target.profile);
  const section = sectionOf(profiles, profile ?? 'default');
  const isOn = (variable: string, setting: string) =>
    (environment[variable] || section[setting])?.toLowerCase() === 'true';
  const region =
    target.region || environment['AWS_REGION'] || environment['AWS_DEFAULT_REGION'] || section['region'];
  if (!region) {
    throw new MintError('bad-settings', 'no AWS region is set', {
      hint: 'set region in ssh.toml or AWS_REGION',
    });
  }
  // It becomes part of a host name.
  if (!/^[a-zA-Z0-9-]{1,63}$/.test(region)) {
    throw new MintError('bad-settings', 'the AWS region cannot be used: it is not the name of a region', {
      hint: 'set region in ssh.toml or AWS_REGION',
    });
  }
  const services = profiles.config[`services.${section['services'] ?? ''}`] ?? {};
  const ignoresEndpoints = isOn('AWS_IGNORE_CONFIGURED_ENDPOINT_URLS', 'ignore_configured_endpoint_urls');
  return {
    region,
    profile,
    endpoint: (service) =>
      ignoresEndpoints
        ? undefined
        : environment[`AWS_ENDPOINT_URL_${service}`] ||
          environment['AWS_ENDPOINT_URL'] ||
          services[`${service.toLowerCase()}.endpoint_url`] ||
          section['endpoint_url'] ||
          undefined,
    useFips: isOn('AWS_USE_FIPS_ENDPOINT', 'use_fips_endpoint'),
    useDualstack: isOn('AWS_USE_DUALSTACK_ENDPOINT', 'use_dualstack_endpoint'),
    caBundle: section['ca_bundle'],
  };
}

/** The clients of one caller: each is made when it is first needed. */
export class Clients {
  readonly settings: ClientSettings;
  readonly credentials: Credentials;
  /** Cached results of these clients, by the file that uses them. */
  readonly memory = new Map<string, unknown>();
  readonly #network: RequestHandling;
  readonly #clients = new Map<Service, unknown>();

  /** @throws MintError `bad-settings`, as `networkOf` */
  constructor(environment: Environment, settings: ClientSettings, credentials: Credentials) {
    this.settings = settings;
    this.credentials = credentials;
    this.#network = networkOf(environment, settings.caBundle);
  }

  async instanceConnect(): Promise<EC2InstanceConnectClient> {
    const { EC2InstanceConnectClient } = await import('./push-sdk.ts');
    return this.#client('EC2_INSTANCE_CONNECT', EC2InstanceConnectClient);
  }

  async ec2(): Promise<EC2Client> {
    const { EC2Client } = await import('./ec2-sdk.ts');
    return this.#client('EC2', EC2Client);
  }

  async sts(): Promise<STSClient> {
    const { STSClient } = await import('./ec2-sdk.ts');
    return this.#client('STS', STSClient);
  }

  async dynamoDb(): Promise<DynamoDBClient> {
    const { DynamoDBClient } = await import('./dynamodb-sdk.ts');
    return this.#client('DYNAMODB', DynamoDBClient);
  }

  /** Closes the connections. */
  close(): void {
    this.#network.httpAgent.destroy();
    this.#network.httpsAgent.destroy();
  }

  #client<Client>(service: Service, Class: new (options: ClientOptions) => Client): Client {
    const found = this.#clients.get(service);
    if (found !== undefined) return found as Client;
    const { region, useFips, useDualstack } = this.settings;
    const { accessKeyId, secretAccessKey, sessionToken, accountId } = this.credentials;
    const endpoint = this.settings.endpoint(service);
    const client = new Class({
      region,
      ...(endpoint === undefined ? {} : { endpoint }),
      useFipsEndpoint: useFips,
      useDualstackEndpoint: useDualstack,
      credentials: {
        accessKeyId,
        secretAccessKey,
        ...(sessionToken === undefined ? {} : { sessionToken }),
        ...(accountId === undefined ? {} : { accountId }),
      },
      maxAttempts: 3,
      retryMode: 'standard',
      requestHandler: this.#network,
    });
    this.#clients.set(service, client);
    return client;
  }
}

interface ClientOptions {
  readonly region: string;
  readonly endpoint?: string;
  readonly useFipsEndpoint: boolean;
  readonly useDualstackEndpoint: boolean;
  readonly credentials: {
    readonly accessKeyId: string;
    readonly secretAccessKey: string;
    readonly sessionToken?: string;
    readonly accountId?: string;
  };
  readonly maxAttempts: number;
  readonly retryMode: 'standard';
  readonly requestHandler: RequestHandling;
}

/** One call while it runs. */
export interface Call {
  readonly clients: Clients;
  readonly attempt: Attempt;
  /** Aborted when the call has taken too long. */
  readonly signal: AbortSignal;
}

/**
 * Follows a command's request: the attempt learns where it goes, and a request that was signed by another clock than
 * AWS's is made again.
 * @returns the command
 */
export function tracked<Command extends { readonly middlewareStack: unknown }>(
  attempt: Attempt,
  command: Command,
): Command {
  const middleware =
    <Input extends { request: unknown }, Output>(next: (call: Input) => Promise<Output>) =>
    async (call: Input): Promise<Output> => {
      attempt.endpoint = originOf(call.request);
      try {
        return await next(call);
      } catch (error) {
        retryWhereSkewed(error, call.request);
        throw error;
      }
    };
  const { middlewareStack } = command as { middlewareStack: { add: (...rule: unknown[]) => void } };
  middlewareStack.add(middleware, { step: 'finalizeRequest', name: 'tracked' });
  return command;
}

function originOf(request: unknown): string | undefined {
  if (typeof request !== 'object' || request === null || !('hostname' in request)) return undefined;
  const port = 'port' in request && typeof request.port === 'number' ? `:${request.port}` : '';
  const protocol = 'protocol' in request ? request.protocol : 'https:';
  return `${protocol}//${request.hostname}${port}`;
}

/** AWS accepts a date that is five minutes off; the SDK, too, allows one minute less, for the way. */
const toleratedMs = 4 * 60_000;

const dateForm = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/;

/**
 * Has the SDK's retry repeat a refused request whose date was not AWS's. From every answer the SDK learns how far the
 * clock is off, and signs what follows by that; but it retries only where the clock is off *now*. Where a wrong clock
 * has been corrected, the learnt difference is what is wrong, and the SDK takes the refusal for final.
 * @param error of the attempt; marked as the SDK marks it where it sees a skew itself
 * @param request as it was signed
 */
function retryWhereSkewed(error: unknown, request: unknown): void {
  const { $metadata, $response } = Object(error) as { $metadata?: unknown; $response?: unknown };
  if (typeof $metadata !== 'object' || $metadata === null) return;
  const signed = dateForm.exec(header(request, 'x-amz-date') ?? '');
  const answered = Date.parse(header($response, 'date') ?? '');
  if (signed === null || Number.isNaN(answered)) return;
  const [, year, month, day, hour, minute, second] = signed;
  const claimed = Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
  if (Math.abs(answered - claimed) < toleratedMs) return;
  Object.assign($metadata, { clockSkewCorrected: true });
}

/** A header of a request or an answer of the SDK's; its names are in any case. */
function header(message: unknown, name: string): string | undefined {
  const { headers } = Object(message) as { headers?: unknown };
  for (const [each, value] of Object.entries(Object(headers) as Record<string, unknown>))
    if (each.toLowerCase() === name && typeof value === 'string') return value;
  return undefined;
}
