/** For the tests of src/aws: the stand-in cloud with one VM, and temporary home directories. */
import { generateKeyPairSync } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { TestContext } from 'node:test';
import { CallerCredentials } from '../../src/agent/credentials/caller-credentials.ts';
import { Aws } from '../../src/aws/aws.ts';
import type { PushRequest } from '../../src/aws/requests.ts';
import { MintError } from '../../src/errors.ts';
import type { Caller } from '../../src/platform/caller.ts';
import { type Cloud, demoAccessKey, demoRegion, startCloud } from '../cloud/cloud.ts';
import { testPath } from '../programs.ts';

export const instanceId = 'i-0123456789abcdef0';
export const publicKey = publicKeyLine();
export const request: PushRequest = { instanceId, osUser: 'ubuntu', publicKey };

export interface Setup {
  readonly cloud: Cloud;
  readonly aws: Aws;
  /** An empty home directory, removed after the test. */
  home(files?: Readonly<Record<string, string>>): string;
  /** An environment that reaches the cloud with its default key. */
  environment(more?: Readonly<Record<string, string>>): Record<string, string>;
  /** An environment without keys; they come from the home directory. */
  homeEnvironment(home: string, more?: Readonly<Record<string, string>>): Record<string, string>;
}

export async function setUp(t: TestContext): Promise<Setup> {
  const cloud = await startCloud();
  cloud.instances.set(instanceId, {
    id: instanceId,
    region: demoRegion,
    state: 'running',
    address: '127.0.0.1',
  });
  const aws = new Aws(new CallerCredentials());
  const homes: string[] = [];
  t.after(async () => {
    await aws.close();
    await cloud.close();
    for (const home of homes) rmSync(home, { recursive: true, force: true });
  });
  const home = (files: Readonly<Record<string, string>> = {}): string => {
    const made = mkdtempSync(join(tmpdir(), 'mint-aws-'));
    homes.push(made);
    for (const [name, text] of Object.entries(files)) writeHome(made, name, text);
    return made;
  };
  const homeEnvironment = (where: string, more = {}) => ({
    HOME: where,
    PATH: testPath,
    AWS_ENDPOINT_URL: cloud.endpoint,
    AWS_REGION: demoRegion,
    AWS_EC2_METADATA_DISABLED: 'true',
    ...more,
  });
  const empty = home();
  return {
    cloud,
    aws,
    home,
    homeEnvironment,
    environment: (more = {}) =>
      homeEnvironment(empty, {
        AWS_ACCESS_KEY_ID: demoAccessKey.id,
        AWS_SECRET_ACCESS_KEY: demoAccessKey.secret,
        ...more,
      }),
  };
}

export function writeHome(home: string, name: string, text: string): void {
  const path = join(home, name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
}

/** The MintError of a failed push; fails if the push succeeds. */
export async function failureOf(
  aws: Aws,
  environment: Caller['environment'],
  more: Partial<PushRequest> = {},
): Promise<MintError> {
  try {
    await aws.push({ environment }, { ...request, ...more });
  } catch (error) {
    if (error instanceof MintError) return error;
    throw error;
  }
  throw new Error('the push succeeded');
}

/** Another access key that the cloud knows. */
export function addKey(cloud: Cloud, name: string, more: { sessionToken?: string; expiresAt?: number } = {}) {
  const id = `AKIA${name.toUpperCase().padEnd(16, 'X')}`;
  const secret = `secret-of-${name}-${'x'.repeat(20)}`;
  cloud.accessKeys.set(id, { secret, ...more });
  return { id, secret };
}

function publicKeyLine(): string {
  const { x = '' } = generateKeyPairSync('ed25519').publicKey.export({ format: 'jwk' });
  const string = (bytes: Buffer) => Buffer.concat([Buffer.from([0, 0, 0, bytes.length]), bytes]);
  const blob = Buffer.concat([string(Buffer.from('ssh-ed25519')), string(Buffer.from(x, 'base64url'))]);
  return `ssh-ed25519 ${blob.toString('base64')}`;
}
