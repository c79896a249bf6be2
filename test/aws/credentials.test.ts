/** Where credentials come from: each caller's own home, and the words when there are none. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { addKey, failureOf, request, setUp, writeHome } from './setup.ts';

/** The SSO portal: gives the role's keys to who has the right access token. */
async function startPortal(t: TestContext, keys: Readonly<Record<string, { id: string; secret: string }>>) {
  const portal = createServer((message, response) => {
    const key = keys[String(message.headers['x-amz-sso_bearer_token'])];
    const answer =
      key === undefined
        ? { __type: 'UnauthorizedException', message: 'Session token not found or invalid' }
        : {
            roleCredentials: {
              accessKeyId: key.id,
              secretAccessKey: key.secret,
              sessionToken: 'sso-session-token',
              expiration: Date.now() + 3_600_000,
            },
          };
    response.writeHead(key === undefined ? 401 : 200, {
      'content-type': 'application/json',
      ...(key === undefined ? { 'x-amzn-errortype': 'UnauthorizedException' } : {}),
    });
    response.end(JSON.stringify(answer));
  });
  await new Promise<void>((resolve) => portal.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    portal.close();
    portal.closeAllConnections();
  });
  return `http://127.0.0.1:${(portal.address() as AddressInfo).port}`;
}

const ssoConfig = `[profile work]
sso_session = corp
sso_account_id = 123456789012
sso_role_name = dev
region = us-east-1
[sso-session corp]
sso_start_url = https://corp.awsapps.com/start
sso_region = us-east-1
`;

const ssoCache = `.aws/sso/cache/${createHash('sha1').update('corp').digest('hex')}.json`;

function ssoToken(accessToken: string, milliseconds: number): string {
  return JSON.stringify({ accessToken, expiresAt: new Date(Date.now() + milliseconds).toISOString() });
}

test("shared credentials files are found by each caller's own HOME", async (t) => {
  const { cloud, workers, home, homeEnvironment } = await setUp(t);
  const pushed = await Promise.all(
    ['anna', 'bert'].map(async (name) => {
      const key = addKey(cloud, name);
      const where = home({
        '.aws/credentials': `[default]\naws_access_key_id=${key.id}\naws_secret_access_key=${key.secret}\naws_account_id=123456789012\n`,
      });
      const { requestId, account } = await workers.push({ environment: homeEnvironment(where) }, request);
      assert.equal(account, '123456789012');
      return { requestId, id: key.id };
    }),
  );
  for (const { requestId, id } of pushed) {
    assert.equal(cloud.pushes.find((each) => each.requestId === requestId)?.accessKeyId, id);
  }
});

test("a credential_process runs with its caller's environment", async (t) => {
  const { cloud, workers, home, homeEnvironment } = await setUp(t);
  for (const name of ['anna', 'bert']) {
    const key = addKey(cloud, name);
    const keys = { Version: 1, AccessKeyId: key.id, SecretAccessKey: key.secret };
    const where = home({
      '.aws/config': '[profile work]\ncredential_process = cat "$HOME/keys.json"\n',
      'keys.json': JSON.stringify(keys),
    });
    await workers.push({ environment: homeEnvironment(where) }, { ...request, profile: 'work' });
    assert.equal(cloud.pushes.at(-1)?.accessKeyId, key.id);
  }
});

test('the SSO session of each HOME gives its own credentials', async (t) => {
  const { cloud, workers, home, homeEnvironment } = await setUp(t);
  const anna = addKey(cloud, 'anna', { sessionToken: 'sso-session-token' });
  const bert = addKey(cloud, 'bert', { sessionToken: 'sso-session-token' });
  const portal = await startPortal(t, { 'token-a': anna, 'token-b': bert });
  for (const [token, key] of [
    ['token-a', anna],
    ['token-b', bert],
  ] as const) {
    const where = home({ '.aws/config': ssoConfig, [ssoCache]: ssoToken(token, 3_600_000) });
    const environment = homeEnvironment(where, { AWS_ENDPOINT_URL_SSO: portal, AWS_PROFILE: 'work' });
    await workers.push({ environment }, request);
    assert.equal(cloud.pushes.at(-1)?.accessKeyId, key.id);
  }
});

test('an expired SSO session names `aws sso login`, and the first push after that login succeeds', async (t) => {
  const { cloud, workers, home, homeEnvironment } = await setUp(t);
  const key = addKey(cloud, 'anna', { sessionToken: 'sso-session-token' });
  const portal = await startPortal(t, { 'token-new': key });
  const where = home({ '.aws/config': ssoConfig, [ssoCache]: ssoToken('token-old', -1000) });
  const environment = homeEnvironment(where, { AWS_ENDPOINT_URL_SSO: portal });
  const expired = await failureOf(workers, environment, { profile: 'work' });
  assert.equal(expired.code, 'aws-credentials');
  assert.equal(expired.hint, 'aws sso login --profile work');
  writeHome(where, ssoCache, ssoToken('token-revoked', 3_600_000));
  const revoked = await failureOf(workers, environment, { profile: 'work' });
  assert.equal(revoked.code, 'aws-credentials');
  assert.equal(revoked.hint, 'aws sso login --profile work');
  writeHome(where, ssoCache, ssoToken('token-new', 3_600_000));
  await workers.push({ environment }, { ...request, profile: 'work' });
  assert.equal(cloud.pushes.at(-1)?.accessKeyId, key.id);
});

test('an SSO profile nobody has logged in to names `aws sso login` as well', async (t) => {
  const { workers, home, homeEnvironment } = await setUp(t);
  const error = await failureOf(workers, homeEnvironment(home({ '.aws/config': ssoConfig })), {
    profile: 'work',
  });
  assert.equal(error.code, 'aws-credentials');
  assert.equal(error.hint, 'aws sso login --profile work');
});

test('no credentials anywhere are told in words, quickly, with no metadata service to ask', async (t) => {
  const { workers, home, homeEnvironment } = await setUp(t);
  const started = performance.now();
  // Nothing answers at this address: what a laptop sees of 169.254.169.254.
  const error = await failureOf(workers, {
    ...homeEnvironment(home()),
    AWS_EC2_METADATA_DISABLED: 'false',
    AWS_EC2_METADATA_SERVICE_ENDPOINT: 'http://192.0.2.1',
  });
  assert.equal(error.code, 'aws-credentials');
  assert.equal(error.message, 'there are no AWS credentials');
  assert.match(error.hint ?? '', /aws sso login/);
  assert.ok(performance.now() - started < 5_000);
});

test('a profile that is not there is named, also where the environment has keys', async (t) => {
  const { workers, environment } = await setUp(t);
  const error = await failureOf(workers, environment(), { profile: "o'brien" });
  assert.equal(error.code, 'aws-credentials');
  assert.match(error.message, /the profile o'brien/);
  assert.match(error.hint ?? '', /--profile 'o'\\''brien'/);
});

test('a credential_process that fails is quoted without its command line', async (t) => {
  const { workers, home, homeEnvironment } = await setUp(t);
  const where = home({
    '.aws/config':
      "[profile work]\ncredential_process = sh -c 'echo first >&2; echo vault is sealed >&2; exit 3' --password hunter2hunter2\n",
  });
  const error = await failureOf(workers, homeEnvironment(where), { profile: 'work' });
  assert.equal(error.code, 'aws-credentials');
  assert.match(error.message, /credential_process.*: vault is sealed$/);
  assert.match(error.hint ?? '', /aws configure get credential_process --profile work/);
  assert.doesNotMatch(`${error.message} ${error.hint}`, /hunter2/);
});

test('a credential_process that never ends is given up after 10 s', async (t) => {
  const { workers, home, homeEnvironment } = await setUp(t);
  const where = home({ '.aws/config': '[profile work]\ncredential_process = sleep 12\n' });
  const started = performance.now();
  const error = await failureOf(workers, homeEnvironment(where), { profile: 'work' });
  assert.equal(error.code, 'aws-credentials');
  assert.match(error.message, /within 10 s/);
  assert.ok(performance.now() - started < 10_500);
});

test('the region comes from the request, AWS_REGION, AWS_DEFAULT_REGION, then the profile', async (t) => {
  const { cloud, workers, home, environment } = await setUp(t);
  const where = home({
    '.aws/config': '[profile east]\nregion = eu-west-3\n[default]\nregion = eu-west-4\n',
  });
  const regionOf = async (more: Record<string, string>, target: { region?: string } = {}) => {
    const { AWS_REGION: _, ...base } = environment({ HOME: where, AWS_CONFIG_FILE: '', ...more });
    const error = await failureOf(
      workers,
      { ...base, ...('AWS_REGION' in more ? more : {}) },
      {
        ...target,
        instanceId: 'i-0000000000000000f',
      },
    );
    return / in ([\w-]+)/.exec(error.message)?.[1];
  };
  const all = { AWS_REGION: 'eu-west-1', AWS_DEFAULT_REGION: 'eu-west-2' };
  assert.equal(await regionOf(all, { region: 'eu-central-1' }), 'eu-central-1');
  assert.equal(await regionOf(all), 'eu-west-1');
  assert.equal(await regionOf({ AWS_DEFAULT_REGION: 'eu-west-2' }), 'eu-west-2');
  assert.equal(await regionOf({}), 'eu-west-4');
  assert.equal(cloud.pushes.length, 0);
});

test('no region, and one that is no host name, are bad settings', async (t) => {
  const { workers, environment } = await setUp(t);
  const { AWS_REGION: _, ...without } = environment();
  const missing = await failureOf(workers, without);
  assert.equal(missing.code, 'bad-settings');
  assert.equal(missing.message, 'no AWS region is set');
  assert.match(missing.hint ?? '', /ssh\.toml or AWS_REGION/);
  const odd = await failureOf(workers, environment(), { region: 'evil.example/\u001b[31m' });
  assert.equal(odd.code, 'bad-settings');
  assert.ok(!odd.message.includes('\u001b'));
});
