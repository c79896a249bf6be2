/** The sources of credentials, and sharing between callers. test/openssh/credentials.test.ts logs in with each. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { CallerCredentials } from '../../src/agent/credentials/caller-credentials.ts';
import type { Configuration } from '../../src/aws/aws.ts';
import { chooseSource, type Profiles } from '../../src/aws/credentials.ts';
import type { Credentials } from '../../src/aws/requests.ts';
import { MintError } from '../../src/errors.ts';
import { callerEnvironment, environmentKey, sessionKey } from '../../src/platform/caller.ts';
import { addKey, failureOf, instanceId, publicKey, request, setUp, writeHome } from './setup.ts';

const keys = { AWS_ACCESS_KEY_ID: 'AKIA1', AWS_SECRET_ACCESS_KEY: 's' };
const profiles: Profiles = {
  config: {
    default: { aws_access_key_id: 'AKIA2', aws_secret_access_key: 's' },
    sso: { sso_session: 'corp' },
    role: { role_arn: 'arn', source_profile: 'process' },
    process: { credential_process: 'x' },
    web: { role_arn: 'arn', web_identity_token_file: '/f' },
    login: { login_session: 'arn' },
    both: { sso_start_url: 'https://x', aws_access_key_id: 'AKIA3', credential_process: 'x' },
    mixed: { credential_process: 'x', aws_access_key_id: 'AKIA4' },
    loop: { role_arn: 'arn', source_profile: 'loop' },
    empty: { region: 'eu-west-1' },
  },
  credentials: {
    old: { aws_access_key_id: 'AKIA5' },
    mixed: {},
    both: {},
    filed: { aws_access_key_id: 'A', aws_secret_access_key: 's' },
  },
};

/** Each as the AWS CLI 1.46 decides it (botocore's create_credential_resolver). */
const choices: readonly (readonly [
  what: string,
  environment: Record<string, string>,
  explicit: string | undefined,
  expected: string,
])[] = [
  ['keys in the environment', keys, undefined, 'environment'],
  ['keys before AWS_PROFILE', { ...keys, AWS_PROFILE: 'sso' }, undefined, 'environment'],
  ['an explicit profile before keys', keys, 'sso', 'sso sso'],
  ['AWS_PROFILE', { AWS_PROFILE: 'sso' }, undefined, 'sso sso'],
  ['AWS_DEFAULT_PROFILE', { AWS_DEFAULT_PROFILE: 'sso' }, undefined, 'sso sso'],
  [
    'AWS_DEFAULT_PROFILE before AWS_PROFILE',
    { AWS_DEFAULT_PROFILE: 'sso', AWS_PROFILE: 'process' },
    undefined,
    'sso sso',
  ],
  ['a profile that is set to nothing', { AWS_PROFILE: '' }, undefined, 'config-file default'],
  ['the default profile', {}, undefined, 'config-file default'],
  ['a role, whose source runs a process', {}, 'role', 'role role +process'],
  ['a role that is its own source', {}, 'loop', 'role loop'],
  ['a web identity of the profile', {}, 'web', 'web-identity web'],
  [
    'a web identity of the environment before the profile',
    { AWS_WEB_IDENTITY_TOKEN_FILE: '/f', AWS_ROLE_ARN: 'arn' },
    undefined,
    'web-identity',
  ],
  [
    'an explicit profile before a web identity of the environment',
    { AWS_WEB_IDENTITY_TOKEN_FILE: '/f', AWS_ROLE_ARN: 'arn' },
    'process',
    'process process +process',
  ],
  ['SSO before keys in the config file', {}, 'both', 'sso both'],
  ['a process before keys in the config file', {}, 'mixed', 'process mixed +process'],
  ['keys in the credentials file', {}, 'filed', 'credentials-file filed'],
  ['a login session', {}, 'login', 'login login'],
  ['a container', { AWS_CONTAINER_CREDENTIALS_FULL_URI: 'http://x' }, 'empty', 'container'],
  ['the metadata service', {}, 'empty', 'instance empty'],
];

for (const [what, environment, explicit, expected] of choices)
  test(`the source is ${what}`, () => {
    const { kind, profile, runsProcess } = chooseSource(environment, profiles, explicit).source;
    assert.equal([kind, profile, runsProcess ? '+process' : undefined].filter(Boolean).join(' '), expected);
  });

test('a misspelt profile, half a key and no source have different messages', () => {
  const message = (environment: Record<string, string>, explicit?: string) => {
    try {
      chooseSource(environment, profiles, explicit);
      return 'nothing';
    } catch (error) {
      return error instanceof MintError ? `${error.code}: ${error.message} / ${error.hint}` : String(error);
    }
  };
  assert.match(message({}, "o'brien"), /^aws-credentials: the profile o'brien does not exist/);
  assert.match(
    message({ ...keys, AWS_PROFILE: 'wrok' }),
    /the profile wrok, which AWS_PROFILE .* the profiles are/,
  );
  assert.match(message({ AWS_ACCESS_KEY_ID: 'AKIA1' }), /without AWS_SECRET_ACCESS_KEY/);
  assert.match(
    message({ AWS_EC2_METADATA_DISABLED: 'true' }, 'empty'),
    /the profile empty has no credentials/,
  );
  assert.match(message({}, 'old'), /^aws-credentials: .* has no aws_secret_access_key/);
});

test('callers differ by their AWS settings; shells by everything except the terminal', () => {
  const one = environmentKey({ AWS_PROFILE: 'a', HOME: '/h' });
  assert.equal(one, environmentKey({ HOME: '/h', AWS_PROFILE: 'a' }));
  assert.notEqual(one, environmentKey({ AWS_PROFILE: 'a/h', HOME: '' }));
  assert.notEqual(one, environmentKey({ AWS_PROFILE: 'b', HOME: '/h' }));
  const shell = { VAULT_TOKEN: 'a', SHLVL: '1', TERM: 'xterm', SSH_TTY: '/dev/pts/1' };
  assert.equal(sessionKey(shell, '/w'), sessionKey({ VAULT_TOKEN: 'a', SHLVL: '2' }, '/w'));
  assert.notEqual(sessionKey(shell, '/w'), sessionKey({ ...shell, VAULT_TOKEN: 'b' }, '/w'));
  assert.notEqual(sessionKey(shell, '/w'), sessionKey(shell, '/v'));
  const kept = callerEnvironment({
    AWS_CONFIG_FILE: '~/c',
    HOME: '/h',
    VAULT_TOKEN: 'x',
    AWS_CA_BUNDLE: 'ca.pem',
  });
  assert.deepEqual(kept, { AWS_CONFIG_FILE: '/h/c', HOME: '/h', AWS_CA_BUNDLE: `${process.cwd()}/ca.pem` });
});

test('a push authorizes the key for that user of that instance and returns the request id', async (t) => {
  const { cloud, aws, environment } = await setUp(t);
  const { requestId } = await aws.push({ environment: environment() }, request);
  assert.equal(requestId, cloud.pushes[0]?.requestId);
  assert.deepEqual(cloud.authorizedKeys(instanceId, 'ubuntu'), [publicKey]);
  assert.deepEqual(cloud.authorizedKeys(instanceId, 'root'), []);
});

test('two callers at the same moment each use their own credentials', async (t) => {
  const { cloud, aws, environment } = await setUp(t);
  const callers = ['anna', 'bert'].map((name) => {
    const { id, secret } = addKey(cloud, name);
    return { name, id, environment: environment({ AWS_ACCESS_KEY_ID: id, AWS_SECRET_ACCESS_KEY: secret }) };
  });
  const release = cloud.faults.hold();
  const pushes = [...callers, ...callers, ...callers].map((caller) =>
    aws.push(caller, { ...request, osUser: caller.name }),
  );
  while (cloud.faults.waiting < 6) await sleep(5);
  release();
  await Promise.all(pushes);
  assert.equal(cloud.pushes.length, 6);
  for (const { user, accessKeyId } of cloud.pushes)
    assert.equal(accessKeyId, callers.find((caller) => caller.name === user)?.id);
});

test('shared credentials files are found by the HOME of each caller, and read again when they change', async (t) => {
  const { cloud, aws, home, homeEnvironment } = await setUp(t);
  const write = (where: string, { id, secret }: { id: string; secret: string }) =>
    writeHome(
      where,
      '.aws/credentials',
      `[default]\naws_access_key_id=${id}\naws_secret_access_key=${secret}\n`,
    );
  for (const name of ['anna', 'bert', 'carl']) {
    // Carl's keys replace those of Bert.
    const where = home();
    for (const key of [addKey(cloud, name), addKey(cloud, `${name}s2`)]) {
      write(where, key);
      await aws.push({ environment: homeEnvironment(where) }, request);
      assert.equal(cloud.pushes.at(-1)?.accessKeyId, key.id);
    }
  }
});

test('expired credentials fail for their own caller only', async (t) => {
  const { cloud, aws, environment } = await setUp(t);
  const old = addKey(cloud, 'old', { sessionToken: 'the-token-of-old', expiresAt: Date.now() - 1000 });
  const expired = environment({
    AWS_ACCESS_KEY_ID: old.id,
    AWS_SECRET_ACCESS_KEY: old.secret,
    AWS_SESSION_TOKEN: 'the-token-of-old',
  });
  const [error] = await Promise.all([
    failureOf(aws, expired),
    aws.push({ environment: environment() }, request),
  ]);
  assert.equal(error.code, 'aws-credentials');
  assert.match(error.message, /have expired/);
  assert.match(error.hint ?? '', /AWS_SESSION_TOKEN/);
});

test('the region comes from the request, AWS_REGION, AWS_DEFAULT_REGION, then the profile', async (t) => {
  const { aws, home, environment } = await setUp(t);
  const where = home({
    '.aws/config': '[profile east]\nregion = eu-west-3\n[default]\nregion = eu-west-4\n',
  });
  const regionOf = async (more: Record<string, string>, target: { region?: string } = {}) => {
    const { AWS_REGION: _, ...base } = environment({ HOME: where, AWS_CONFIG_FILE: '', ...more });
    const all = { ...base, ...('AWS_REGION' in more ? more : {}) };
    const error = await failureOf(aws, all, { ...target, instanceId: 'i-0000000000000000f' });
    return / in ([\w-]+)/.exec(error.message)?.[1];
  };
  const all = { AWS_REGION: 'eu-west-1', AWS_DEFAULT_REGION: 'eu-west-2' };
  assert.equal(await regionOf(all, { region: 'eu-central-1' }), 'eu-central-1');
  assert.equal(await regionOf(all), 'eu-west-1');
  assert.equal(await regionOf({ AWS_DEFAULT_REGION: 'eu-west-2' }), 'eu-west-2');
  assert.equal(await regionOf({}), 'eu-west-4');
  // The profile names a region, and the keys of the environment sign.
  assert.equal(await regionOf({ AWS_PROFILE: 'east' }), 'eu-west-3');
});

test('no region, and one that is not a host name, are bad settings', async (t) => {
  const { aws, environment } = await setUp(t);
  const { AWS_REGION: _, ...without } = environment();
  const missing = await failureOf(aws, without);
  assert.equal(missing.code, 'bad-settings');
  assert.equal(missing.message, 'no AWS region is set');
  assert.match(missing.hint ?? '', /ssh\.toml or AWS_REGION/);
  const odd = await failureOf(aws, environment(), { region: 'evil.example/\u001b[31m' });
  assert.equal(odd.code, 'bad-settings');
  assert.ok(!odd.message.includes('\u001b'));
});

test('an endpoint of the profile is used, unless a variable names another or forbids it', async (t) => {
  const { cloud, aws, home, environment } = await setUp(t);
  const where = home({
    '.aws/config': `[default]\nservices = mine\n[services mine]\nec2_instance_connect =\n  endpoint_url = ${cloud.endpoint}\n`,
  });
  const { AWS_ENDPOINT_URL: _, ...base } = environment({ HOME: where });
  await aws.push({ environment: base }, request);
  assert.equal(cloud.pushes.length, 1);
  const nowhere = { ...base, AWS_ENDPOINT_URL: 'http://nowhere.invalid' };
  assert.match((await failureOf(aws, nowhere)).message, /^nowhere\.invalid cannot be reached/);
});

test('without a login, a source that needs the caller returns no credentials', async (t) => {
  const { aws, home, homeEnvironment } = await setUp(t);
  const where = home({ '.aws/config': '[default]\ncredential_process = false\n' });
  const error = await failureOf(aws, homeEnvironment(where));
  assert.equal(error.code, 'aws-credentials');
});

/** A login for the agent: it records the requests. */
function makeLogin() {
  const asked: string[] = [];
  const told: (string | undefined)[] = [];
  const login = {
    isAvailable: true,
    resolve: (id: string) => asked.push(id),
    tell: (line?: string) => told.push(line),
  };
  return { asked, told, login };
}

const processConfiguration: Configuration = {
  profiles: { config: { default: { credential_process: 'x' } }, credentials: {} },
  stamp: 'one',
  key: environmentKey({}),
};
const resolved = (expiresAt?: number): Credentials => ({
  accessKeyId: 'AKIA',
  secretAccessKey: 's',
  expiresAt,
  source: { kind: 'process', profile: 'default', runsProcess: true },
});

test('logins that wait for the same credentials ask one of them, and the next one when it ends', async () => {
  const handover = new CallerCredentials();
  const [first, second] = [makeLogin(), makeLogin()];
  const get = (login: ReturnType<typeof makeLogin>, session = 'shell') =>
    handover.get({ environment: {}, session, resolver: login.login }, processConfiguration, {});
  const results = [get(first), get(second)];
  await sleep(0);
  assert.deepEqual([first.asked.length, second.asked.length], [1, 0]);
  handover.leave(first.login);
  assert.equal(second.asked.length, 1);
  const resolution = handover.resolution(second.asked[0] ?? '');
  resolution?.attach();
  resolution?.tell('waiting for it');
  assert.deepEqual(second.told, ['waiting for it']);
  const credentials = resolved(Date.now() + 3_600_000);
  resolution?.settle(credentials);
  assert.deepEqual(await Promise.all(results), [credentials, credentials]);
  // Its process ends: no other login is asked.
  resolution?.detach();
  assert.deepEqual([first.asked.length, second.asked.length], [1, 1]);
  assert.equal(await get(first), credentials, 'a later login finds them');
  assert.equal(first.asked.length, 1);
  // Another shell, in which the process may return other credentials.
  const other = makeLogin();
  void get(other, 'other shell');
  await sleep(0);
  assert.equal(other.asked.length, 1);
});

test('a late result serves the next login', async () => {
  const handover = new CallerCredentials();
  const [first, second] = [makeLogin(), makeLogin()];
  const caller = (login: ReturnType<typeof makeLogin>) => ({
    environment: {},
    session: '',
    resolver: login.login,
  });
  void handover.get(caller(first), processConfiguration, {});
  await sleep(0);
  const resolution = handover.resolution(first.asked[0] ?? '');
  resolution?.attach();
  handover.leave(first.login);
  const credentials = resolved(Date.now() + 3_600_000);
  resolution?.settle(credentials);
  await sleep(0);
  assert.equal(await handover.get(caller(second), processConfiguration, {}), credentials);
  assert.equal(second.asked.length, 0);
});

test('credentials about to expire are not used for another login; a failure is not kept', async () => {
  const handover = new CallerCredentials();
  const login = makeLogin();
  const caller = { environment: {}, session: '', resolver: login.login };
  const answer = async (result: Credentials | MintError) => {
    const got = handover.get(caller, processConfiguration, {});
    await sleep(0);
    handover.resolution(login.asked.at(-1) ?? '')?.settle(result);
    return await got;
  };
  await answer(resolved(Date.now() + 30_000));
  await assert.rejects(answer(new MintError('aws-credentials', 'no')), { code: 'aws-credentials' });
  const last = resolved(Date.now() + 3_600_000);
  assert.equal(await answer(last), last);
  assert.equal(login.asked.length, 3);
  // AWS has refused them.
  handover.forget(last);
  await answer(resolved(Date.now() + 3_600_000));
  assert.equal(login.asked.length, 4);
});
