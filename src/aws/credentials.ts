/**
 * AWS credentials by the rules of the AWS CLI: the source (`chooseSource`), and the credentials that it returns
 * (`resolveCredentials`).
 *
 * The order is that of botocore's create_credential_resolver:
 * https://github.com/boto/botocore/blob/develop/botocore/credentials.py
 */
import { statSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { closest } from '../cli/suggest.ts';
import { Interrupted, MintError } from '../errors.ts';
import { runCredentialProcess } from './credential-process.ts';
import { explainNoCredentials, noCredentialsAt, profileOption, quoteForeign } from './errors.ts';
import { networkOf, type RequestHandling } from './network.ts';
import type { Credentials, Source, Target } from './requests.ts';

type Section = Readonly<Record<string, string | undefined>>;

/** The AWS config and credentials files, by profile. `config` has sections such as `services.x` as well. */
export interface Profiles {
  readonly config: Readonly<Record<string, Section>>;
  readonly credentials: Readonly<Record<string, Section>>;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** The profile that an environment names, without an explicit one. As the AWS CLI: AWS_DEFAULT_PROFILE first. */
function profileIn(environment: Environment): string | undefined {
  return environment['AWS_DEFAULT_PROFILE'] || environment['AWS_PROFILE'] || undefined;
}

/** A profile's settings: a value in the credentials file overrides the same one in the config file. */
export function sectionOf({ config, credentials }: Profiles, profile: string): Section {
  return { ...config[profile], ...credentials[profile] };
}

/**
 * Reads the AWS files of an environment.
 * @param load the SDK's reader: each of its bundles has one
 */
export async function readProfiles(
  environment: Environment,
  load: (paths: {
    filepath: string;
    configFilepath: string;
    ignoreCache: true;
  }) => Promise<{ configFile: Profiles['config']; credentialsFile: Profiles['credentials'] }>,
): Promise<Profiles> {
  const { config: configFilepath, credentials: filepath } = awsFiles(environment);
  const { configFile, credentialsFile } = await load({ filepath, configFilepath, ignoreCache: true });
  return { config: configFile, credentials: credentialsFile };
}

/**
 * Where the credentials come from, and the credentials themselves if they are at hand.
 * @param explicit the profile of `--profile` or ssh.toml; it disregards keys in the environment
 * @returns `atHand`: undefined for a source that a process or a request has to be asked
 * @throws MintError `aws-credentials` where the profile does not exist, the settings are incomplete, or nothing is set
 */
export function chooseSource(
  environment: Environment,
  profiles: Profiles,
  explicit: string | undefined,
): { readonly source: Source; readonly atHand: Credentials | undefined } {
  const source = sourceOf(environment, profiles, explicit);
  return { source, atHand: isAtHand(source) ? credentialsAtHand(environment, profiles, source) : undefined };
}

function sourceOf(environment: Environment, profiles: Profiles, explicit: string | undefined): Source {
  const named = requireProfile(environment, profiles, explicit);
  const profile = named ?? 'default';
  const section = sectionOf(profiles, profile);
  const ownFile = profiles.credentials[profile] ?? {};
  const source = (kind: Source['kind'], runsProcess = false): Source => ({ kind, profile, runsProcess });

  if (explicit === undefined && environment['AWS_ACCESS_KEY_ID']) {
    if (!environment['AWS_SECRET_ACCESS_KEY']) {
      throw new MintError('aws-credentials', 'AWS_ACCESS_KEY_ID is set without AWS_SECRET_ACCESS_KEY', {
        hint: 'set both, or neither',
      });
    }
    return { kind: 'environment', profile: undefined, runsProcess: false };
  }
  if (section['role_arn'] && !section['web_identity_token_file'])
    return source('role', runsProcess(profiles, profile));
  if (explicit === undefined && environment['AWS_WEB_IDENTITY_TOKEN_FILE'] && environment['AWS_ROLE_ARN'])
    return { kind: 'web-identity', profile: undefined, runsProcess: false };
  if (section['web_identity_token_file'] && section['role_arn']) return source('web-identity');
  if (section['sso_start_url'] || section['sso_session']) return source('sso');
  if (ownFile['aws_access_key_id']) return source('credentials-file');
  if (section['login_session']) return source('login');
  if (section['credential_process']) return source('process', true);
  if (section['aws_access_key_id']) return source('config-file');
  if (
    environment['AWS_CONTAINER_CREDENTIALS_RELATIVE_URI'] ||
    environment['AWS_CONTAINER_CREDENTIALS_FULL_URI']
  )
    return { kind: 'container', profile: undefined, runsProcess: false };
  if (environment['AWS_EC2_METADATA_DISABLED']?.toLowerCase() !== 'true')
    return { kind: 'instance', profile: named, runsProcess: false };
  throw noCredentialsAt(named);
}

/**
 * The profile that is named, by the user or by the environment.
 * @throws MintError `aws-credentials` where it does not exist
 */
export function requireProfile(
  environment: Environment,
  profiles: Profiles,
  explicit: string | undefined,
): string | undefined {
  const named = explicit ?? profileIn(environment);
  if (named !== undefined && !exists(profiles, named)) throw noSuchProfile(profiles, named, explicit);
  return named;
}

function exists({ config, credentials }: Profiles, profile: string): boolean {
  return Object.hasOwn(config, profile) || Object.hasOwn(credentials, profile);
}

/** Follows `source_profile` to the profile that the first role is assumed with. */
function runsProcess(profiles: Profiles, profile: string): boolean {
  const seen = new Set<string>();
  for (let at: string | undefined = profile; at !== undefined && !seen.has(at); ) {
    seen.add(at);
    const section = sectionOf(profiles, at);
    if (section['credential_process']) return true;
    at = section['source_profile'];
  }
  return false;
}

/** Whether a source's credentials are read directly, from the environment or from a file. */
export function isAtHand({ kind }: Source): boolean {
  return kind === 'environment' || kind === 'credentials-file' || kind === 'config-file';
}

/**
 * The credentials of a source that is at hand.
 * @throws MintError `aws-credentials` where they are incomplete
 */
function credentialsAtHand(environment: Environment, profiles: Profiles, source: Source): Credentials {
  const { kind, profile = '' } = source;
  if (kind === 'environment') {
    const expiresAt = Date.parse(environment['AWS_CREDENTIAL_EXPIRATION'] ?? '');
    return {
      accessKeyId: environment['AWS_ACCESS_KEY_ID'] ?? '',
      secretAccessKey: environment['AWS_SECRET_ACCESS_KEY'] ?? '',
      sessionToken: environment['AWS_SESSION_TOKEN'] || environment['AWS_SECURITY_TOKEN'] || undefined,
      expiresAt: Number.isNaN(expiresAt) ? undefined : expiresAt,
      source,
    };
  }
  const section = (kind === 'credentials-file' ? profiles.credentials : profiles.config)[profile] ?? {};
  const { aws_access_key_id: accessKeyId = '', aws_secret_access_key: secretAccessKey } = section;
  if (!secretAccessKey) {
    throw new MintError(
      'aws-credentials',
      `the profile ${quoteForeign(profile)} has no aws_secret_access_key`,
      {
        hint: `aws configure${profileOption(profile)}`,
      },
    );
  }
  return {
    accessKeyId,
    secretAccessKey,
    sessionToken: section['aws_session_token'] || section['aws_security_token'] || undefined,
    accountId: section['aws_account_id'] || undefined,
    source,
  };
}

/** What a caller may be told while its credentials are resolved, and how it is asked for an MFA code. */
export interface Interaction {
  /** One line for the user. */
  readonly tell: (line: string) => void;
  /**
   * Asks for an MFA code, with this prompt.
   * @returns undefined if the user gave up or cannot be asked
   */
  readonly askCode: (prompt: string) => Promise<string | undefined>;
}

/** After this time the user is told what is being waited for. */
const tellAfterMs = 1_000;

/**
 * Resolves credentials in this process, with its environment, working directory and terminal.
 * @throws MintError `aws-credentials`, `aws-denied`, `aws-unreachable`, `bad-settings`
 */
export async function resolveCredentials(
  { profile: explicit, region }: Target,
  { tell, askCode }: Interaction,
): Promise<Credentials> {
  const { env } = process;
  const sdk = await import('./credentials-sdk.ts');
  const profiles = await readProfiles(env, sdk.loadSharedConfigFiles);
  const { source, atHand } = chooseSource(env, profiles, explicit);
  if (atHand !== undefined) return atHand;
  const { profile } = source;
  const asked = { code: undefined as string | undefined, isRefused: false };
  let waitingFor = describeWait(source);
  let timer = setTimeout(() => tell(waitingFor), tellAfterMs);
  try {
    const found = await provide(source, {
      requestHandler: networkOf(env, sectionOf(profiles, profile ?? 'default')['ca_bundle']),
      region:
        region ||
        env['AWS_REGION'] ||
        env['AWS_DEFAULT_REGION'] ||
        sectionOf(profiles, profile ?? '')['region'],
      environment: env,
      mfaCodeProvider: async (serial) => {
        clearTimeout(timer);
        const of = profile === undefined ? '' : ` (profile ${profile})`;
        asked.code = await askCode(`MFA code for ${serial}${of}: `);
        if (asked.code === undefined) asked.isRefused = true;
        waitingFor = describeWait(source);
        timer = setTimeout(() => tell(waitingFor), tellAfterMs);
        return asked.code ?? '';
      },
    });
    return {
      accessKeyId: found.accessKeyId,
      secretAccessKey: found.secretAccessKey,
      sessionToken: found.sessionToken,
      accountId: found.accountId,
      expiresAt: found.expiration?.getTime(),
      source,
    };
  } catch (error) {
    if (error instanceof MintError || error instanceof Interrupted) throw error;
    throw explainNoCredentials(error, source, asked, secretsIn(env));
  } finally {
    clearTimeout(timer);
  }
}

function describeWait({ kind, profile, runsProcess: runs }: Source): string {
  const of = profile === undefined ? '' : ` of profile ${quoteForeign(profile)}`;
  if (runs) return `waiting for credential_process${of} (touch your key?)`;
  switch (kind) {
    case 'sso':
      return `waiting for the SSO credentials${of}`;
    case 'role':
    case 'web-identity':
      return `waiting for AWS to grant the role${of}`;
    case 'container':
    case 'instance':
      return 'waiting for the AWS credentials of this machine';
    default:
      return `waiting for the AWS credentials${of}`;
  }
}

interface ProviderOptions {
  readonly requestHandler: RequestHandling;
  readonly region: string | undefined;
  readonly environment: NodeJS.ProcessEnv;
  readonly mfaCodeProvider: (serial: string) => Promise<string>;
}

interface Provided {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
  readonly accountId?: string;
  readonly expiration?: Date;
}

/** Asks the SDK's provider for the source; none of them falls back to another. */
async function provide({ kind, profile }: Source, options: ProviderOptions): Promise<Provided> {
  const sdk = await import('./credentials-sdk.ts');
  // The SDK runs a credential_process through this, for a role's source as well.
  sdk.externalDataInterceptor.interceptToken('exec', runCredentialProcess(options.environment) as never);
  const ignore = () => undefined;
  const shared = {
    ...(profile === undefined ? {} : { profile }),
    clientConfig: { requestHandler: options.requestHandler },
    parentClientConfig: options.region === undefined ? {} : { region: options.region },
    mfaCodeProvider: options.mfaCodeProvider,
    logger: { trace: ignore, debug: ignore, info: ignore, warn: ignore, error: ignore },
  };
  switch (kind) {
    case 'web-identity':
      return await (profile === undefined ? sdk.fromTokenFile(shared) : sdk.fromIni(shared))();
    case 'sso':
      return await sdk.fromSSO(shared)();
    case 'login':
      return await sdk.fromLoginCredentials(shared)();
    case 'process':
      return await sdk.fromProcess(shared)();
    case 'container':
      return await sdk.fromHttp({ ...shared, timeout: 2_000, maxRetries: 1 })();
    case 'instance':
      // The metadata service answers at once or, outside EC2, never.
      return await sdk.fromInstanceMetadata({ ...shared, timeout: 1_000, maxRetries: 0 })();
    default:
      return await sdk.fromIni(shared)();
  }
}

/** Values that must not appear in a message. */
function secretsIn(environment: Environment): string[] {
  return Object.entries(environment).flatMap(([name, value]) =>
    value !== undefined && /SECRET|PASSWORD|TOKEN(?!_FILE)/i.test(name) ? [value] : [],
  );
}

function noSuchProfile(
  { config, credentials }: Profiles,
  profile: string,
  explicit: string | undefined,
): MintError {
  if (/\s/.test(profile)) {
    return new MintError('aws-credentials', `the profile ${quoteForeign(profile)} cannot be used`, {
      hint: 'rename it in the AWS config files: the AWS SDK does not read a profile whose name has a blank',
    });
  }
  const from = explicit !== undefined ? '' : ', which AWS_PROFILE or AWS_DEFAULT_PROFILE names,';
  const known = [...new Set([...Object.keys(config), ...Object.keys(credentials)])].filter(
    (name) => !name.includes('.'),
  );
  const near = closest(profile, known);
  const meant = near === undefined ? '' : `did you mean ${quoteForeign(near)}? `;
  const shown = known
    .slice(0, 5)
    .map((name) => quoteForeign(name))
    .join(', ');
  return new MintError(
    'aws-credentials',
    `the profile ${quoteForeign(profile)}${from} does not exist in the AWS config files`,
    {
      hint:
        known.length === 0
          ? `there are no profiles: aws configure sso${profileOption(profile)}`
          : `${meant}the profiles are ${shown}${known.length > 5 ? ', …' : ''}; aws configure list-profiles lists all`,
    },
  );
}

/** The paths of the AWS files of an environment, config first. */
export function awsFiles(environment: Environment): {
  readonly config: string;
  readonly credentials: string;
} {
  const home = environment['HOME'] || environment['USERPROFILE'] || homedir();
  const inHome = (path: string | undefined, name: string) => {
    if (!path) return join(home, '.aws', name);
    return path.startsWith('~/') ? join(home, path.slice(2)) : path;
  };
  return {
    config: inHome(environment['AWS_CONFIG_FILE'], 'config'),
    credentials: inHome(environment['AWS_SHARED_CREDENTIALS_FILE'], 'credentials'),
  };
}

/** A text that changes whenever one of the caller's AWS files does. */
export function filesStamp(environment: Environment): string {
  const { config, credentials } = awsFiles(environment);
  return [config, credentials].map(stamp).join(' ');
}

function stamp(path: string): string {
  try {
    const found = statSync(path, { bigint: true, throwIfNoEntry: false });
    return found === undefined ? 'none' : `${found.ino}.${found.size}.${found.mtimeNs}`;
  } catch {
    return 'unreadable';
  }
}
