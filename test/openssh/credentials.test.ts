/**
 * Which identity signs, and what the user sees, for each way to set up AWS credentials: real logins, beside what the AWS
 * CLI does in the same environment where there is one.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type CredentialServices, startCredentialServices } from './credential-services.ts';
import { runningProcesses } from './processes.ts';
import { loginUser, makeWorld, mintProgram, type Result, type World } from './world.ts';

const askpass = join(import.meta.dirname, '../cli/programs/askpass.sh');

interface SetUp {
  readonly files?: Readonly<Record<string, string>>;
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Of `--profile`. */
  readonly profile?: string;
  /** `dev` unless told; `pinned` has `profile = "filed"` in ssh.toml. */
  readonly vm?: string;
  readonly cwd?: string;
  /** Runs ssh on a terminal and types this after the prompt. */
  readonly types?: { readonly after: RegExp; readonly text: string };
  /** The name of the key that signs; undefined where the login fails. */
  readonly signs?: string;
  /** The output that the user must see. */
  readonly sees?: RegExp;
  /** The output that must not appear. */
  readonly hides?: RegExp;
  /** The AWS CLI differs, or cannot be asked here. */
  readonly cli?: 'not compared';
}

/** The AWS CLI is not one of the declared programs of the tests: it is compared with where somebody has it. */
const awsCli = (process.env['PATH'] ?? '')
  .split(delimiter)
  .map((directory) => join(directory, 'aws'))
  .find((path) => existsSync(path));

describe('AWS credentials', { timeout: 300_000 }, () => {
  let world: World;
  let services: CredentialServices;
  const keys = new Map<string, { readonly id: string; readonly secret: string; readonly token: string }>();
  const nameOf = (id: string | undefined) => [...keys].find(([, key]) => key.id === id)?.[0];
  const keyOf = (name: string) => {
    const key = keys.get(name);
    if (key === undefined) throw new Error(`no key ${name}`);
    return key;
  };

  before(async () => {
    world = await makeWorld({
      vms: { dev: {}, pinned: { settings: ['profile = "filed"'] } },
      // Only what a test sets up: no keys, no files.
      environment: {
        AWS_ACCESS_KEY_ID: undefined,
        AWS_SECRET_ACCESS_KEY: undefined,
        AWS_CONFIG_FILE: undefined,
        AWS_SHARED_CREDENTIALS_FILE: undefined,
      },
    });
    services = await startCredentialServices();
    const permanent = ['environment', 'filed', 'configured', 'process', 'tty', 'variables', 'slow'];
    const temporary = ['sso', 'first-role', 'second-role', 'mfa', 'web', 'container', 'expiring'];
    for (const name of [...permanent, ...temporary]) {
      const id = `AKIA${name.replaceAll('-', '').toUpperCase().padEnd(16, 'X')}`;
      const key = { id, secret: `secret-of-${name}-${'x'.repeat(24)}`, token: `token-of-${name}` };
      keys.set(name, key);
      world.cloud.accessKeys.set(id, {
        secret: key.secret,
        ...(temporary.includes(name) ? { sessionToken: key.token } : {}),
      });
    }
    services.keys.set('sso-access-token', keyOf('sso'));
    services.keys.set('arn:aws:iam::123456789012:role/first', keyOf('first-role'));
    services.keys.set('source of arn:aws:iam::123456789012:role/first', keyOf('filed'));
    services.keys.set('arn:aws:iam::123456789012:role/second', keyOf('second-role'));
    services.keys.set('source of arn:aws:iam::123456789012:role/second', keyOf('first-role'));
    services.keys.set('arn:aws:iam::123456789012:role/mfa', keyOf('mfa'));
    services.keys.set('web-identity-token', keyOf('web'));
    services.keys.set('/container', keyOf('container'));
  });
  after(async () => {
    services.close();
    await world.end();
  });

  let homes = 0;
  function makeHome(files: Readonly<Record<string, string>> = {}): string {
    homes += 1;
    const home = join(world.directory, `home-${homes}`);
    mkdirSync(home);
    for (const [name, text] of Object.entries(files)) {
      mkdirSync(dirname(join(home, name)), { recursive: true });
      writeFileSync(join(home, name), text, { mode: 0o700 });
    }
    return home;
  }

  /** The environment of a shell with its own home directory. */
  const shell = (home: string, env: Readonly<Record<string, string | undefined>> = {}) => ({
    HOME: home,
    AWS_ENDPOINT_URL_STS: services.endpoint,
    AWS_ENDPOINT_URL_SSO: services.endpoint,
    ...env,
  });
  const login = (
    vm: string,
    env: Readonly<Record<string, string | undefined>>,
    { profile, cwd }: { readonly profile?: string | undefined; readonly cwd?: string | undefined } = {},
  ): Promise<Result> =>
    profile === undefined
      ? world.startSsh([vm, 'true'], { env, timeout: 60_000, ...(cwd === undefined ? {} : { cwd }) }).done
      : world.run(mintProgram, ['ssh', '--profile', profile, vm, '--', 'true'], { env });

  const inFile = (name: string, profile: string) =>
    `[${profile}]\naws_access_key_id=${keyOf(name).id}\naws_secret_access_key=${keyOf(name).secret}\n`;
  const asJson = (name: string, more: object = {}) =>
    JSON.stringify({ Version: 1, AccessKeyId: keyOf(name).id, SecretAccessKey: keyOf(name).secret, ...more });
  const inEnvironment = () => ({
    AWS_ACCESS_KEY_ID: keyOf('environment').id,
    AWS_SECRET_ACCESS_KEY: keyOf('environment').secret,
  });
  const ssoConfig =
    '[profile sso]\nsso_session = corp\nsso_account_id = 123456789012\nsso_role_name = dev\n' +
    '[sso-session corp]\nsso_start_url = https://corp.awsapps.com/start\nsso_region = us-east-1\n';
  const ssoCache = `.aws/sso/cache/${createHash('sha1').update('corp').digest('hex')}.json`;
  const ssoToken = (milliseconds: number) =>
    JSON.stringify({
      startUrl: 'https://corp.awsapps.com/start',
      region: 'us-east-1',
      accessToken: 'sso-access-token',
      expiresAt: new Date(Date.now() + milliseconds).toISOString().replace(/\.\d+Z/, 'Z'),
    });
  const roles =
    '[profile first]\nrole_arn = arn:aws:iam::123456789012:role/first\nsource_profile = filed\n' +
    '[profile second]\nrole_arn = arn:aws:iam::123456789012:role/second\nsource_profile = first\n' +
    '[profile mfa]\nrole_arn = arn:aws:iam::123456789012:role/mfa\nsource_profile = filed\n' +
    'mfa_serial = arn:aws:iam::123456789012:mfa/anna\n';
  const processProfile = (command: string) => `[profile process]\ncredential_process = ${command}\n`;

  const setUps: Readonly<Record<string, () => SetUp>> = {
    'keys in the environment': () => ({ env: inEnvironment(), signs: 'environment' }),
    'a profile of the credentials file': () => ({
      files: { '.aws/credentials': inFile('filed', 'work') },
      env: { AWS_PROFILE: 'work' },
      signs: 'filed',
    }),
    'AWS_DEFAULT_PROFILE, before AWS_PROFILE': () => ({
      files: {
        '.aws/credentials': inFile('filed', 'work'),
        '.aws/config': inFile('configured', 'profile other'),
      },
      env: { AWS_DEFAULT_PROFILE: 'work', AWS_PROFILE: 'other' },
      signs: 'filed',
    }),
    'the default profile, in the config file': () => ({
      files: { '.aws/config': inFile('configured', 'default') },
      signs: 'configured',
    }),
    'both AWS_PROFILE and keys in the environment': () => ({
      files: { '.aws/credentials': inFile('filed', 'work') },
      env: { AWS_PROFILE: 'work', ...inEnvironment() },
      signs: 'environment',
    }),
    'an explicit --profile, and keys in the environment': () => ({
      files: { '.aws/credentials': inFile('filed', 'work') },
      env: inEnvironment(),
      profile: 'work',
      signs: 'filed',
    }),
    'profile in ssh.toml, and keys in the environment': () => ({
      files: { '.aws/credentials': inFile('filed', 'filed') },
      env: inEnvironment(),
      vm: 'pinned',
      signs: 'filed',
      cli: 'not compared',
    }),
    'a valid SSO session': () => ({
      files: { '.aws/config': ssoConfig, [ssoCache]: ssoToken(3_600_000) },
      env: { AWS_PROFILE: 'sso' },
      signs: 'sso',
    }),
    'an expired SSO session': () => ({
      files: { '.aws/config': ssoConfig, [ssoCache]: ssoToken(-1000) },
      env: { AWS_PROFILE: 'sso' },
      sees: /\(aws-credentials\)\nmint-ssh: hint: aws sso login --profile sso\n/,
    }),
    'an SSO session whose token AWS does not know': () => ({
      files: { '.aws/config': ssoConfig, [ssoCache]: ssoToken(3_600_000).replace('sso-access', 'revoked') },
      env: { AWS_PROFILE: 'sso' },
      sees: /\(aws-credentials\)\nmint-ssh: hint: aws sso login --profile sso\n/,
    }),
    'a chain of two roles': () => ({
      files: { '.aws/config': roles, '.aws/credentials': inFile('filed', 'filed') },
      env: { AWS_PROFILE: 'second' },
      signs: 'second-role',
    }),
    'a role that AWS does not grant': () => ({
      files: {
        '.aws/config': '[profile no]\nrole_arn = arn:aws:iam::123456789012:role/no\nsource_profile = filed\n',
        '.aws/credentials': inFile('filed', 'filed'),
      },
      env: { AWS_PROFILE: 'no' },
      sees: /AWS does not grant the role of profile no: .*sts:AssumeRole \(aws-denied\)/,
    }),
    'a role with an MFA code, asked for by SSH_ASKPASS': () => ({
      files: { '.aws/config': roles, '.aws/credentials': inFile('filed', 'filed') },
      env: {
        AWS_PROFILE: 'mfa',
        SSH_ASKPASS: askpass,
        SSH_ASKPASS_REQUIRE: 'force',
        ASKPASS: services.code,
      },
      signs: 'mfa',
      hides: /765432/,
      cli: 'not compared',
    }),
    'a role with an MFA code, asked for on the terminal': () => ({
      files: { '.aws/config': roles, '.aws/credentials': inFile('filed', 'filed') },
      env: { AWS_PROFILE: 'mfa' },
      types: {
        after: /MFA code for arn:aws:iam::123456789012:mfa\/anna \(profile mfa\): /,
        text: `${services.code}\n`,
      },
      signs: 'mfa',
      hides: /765432/,
      cli: 'not compared',
    }),
    'a role with an MFA code, and a wrong one': () => ({
      files: { '.aws/config': roles, '.aws/credentials': inFile('filed', 'filed') },
      env: { AWS_PROFILE: 'mfa', SSH_ASKPASS: askpass, SSH_ASKPASS_REQUIRE: 'force', ASKPASS: '999999' },
      sees: /AWS did not accept the MFA code: .*one time pass code \(aws-credentials\)/,
      hides: /999999/,
      cli: 'not compared',
    }),
    'a role with an MFA code, without a terminal': () => ({
      files: { '.aws/config': roles, '.aws/credentials': inFile('filed', 'filed') },
      env: { AWS_PROFILE: 'mfa' },
      sees: /the role of profile mfa needs an MFA code, and none was entered \(aws-credentials\)/,
      cli: 'not compared',
    }),
    'a fast credential_process': () => ({
      files: { '.aws/config': processProfile('cat keys.json'), 'keys.json': asJson('process') },
      env: { AWS_PROFILE: 'process' },
      cwd: 'home',
      signs: 'process',
      hides: /waiting for/,
    }),
    'a credential_process that asks on the terminal': () => ({
      files: {
        '.aws/config': processProfile('sh -c "$HOME/ask"'),
        ask: `#!/bin/sh\nprintf 'PIN: ' >/dev/tty\nread pin\n[ "$pin" = 4711 ] && cat "$HOME/keys.json"\n`,
        'keys.json': asJson('tty'),
      },
      env: { AWS_PROFILE: 'process' },
      types: { after: /PIN: /, text: '4711\n' },
      signs: 'tty',
      cli: 'not compared',
    }),
    'a credential_process that needs variables, the PATH of the shell and the directory': () => ({
      files: {
        '.aws/config': processProfile('find-keys'),
        'bin/find-keys': `#!/bin/sh\n[ "$VAULT_TOKEN" = v ] && [ "$PASSWORD_STORE_DIR" = p ] && cat here.json\n`,
        'here.json': asJson('variables'),
      },
      env: { AWS_PROFILE: 'process', VAULT_TOKEN: 'v', PASSWORD_STORE_DIR: 'p', PATH: 'home/bin' },
      cwd: 'home',
      signs: 'variables',
    }),
    'a credential_process that fails with words of its own': () => ({
      files: {
        '.aws/config': processProfile('sh -c "$HOME/fail" --password hunter2hunter2'),
        fail: `#!/bin/sh\nprintf 'your session has expired, run: saml2aws login\\033]0;x\\007\\n' >&2\nexit 3\n`,
      },
      env: { AWS_PROFILE: 'process' },
      sees: /credential_process of profile process failed with exit status 3: your session has expired, run: saml2aws login\\u\{1b\}\]0;x\\u\{7\} \(aws-credentials\)\n.*aws configure get credential_process --profile process/,
      hides: /hunter2|hint: aws|sso login/,
    }),
    'a credential_process that prints something else': () => ({
      files: { '.aws/config': processProfile('echo hello') },
      env: { AWS_PROFILE: 'process' },
      sees: /the credential_process of profile process printed no credentials/,
    }),
    'a web identity': () => ({
      files: { token: 'web-identity-token' },
      env: {
        AWS_WEB_IDENTITY_TOKEN_FILE: 'home/token',
        AWS_ROLE_ARN: 'arn:aws:iam::123456789012:role/web',
        AWS_ROLE_SESSION_NAME: 'session',
      },
      signs: 'web',
    }),
    "a container's endpoint": () => ({
      env: { AWS_CONTAINER_CREDENTIALS_FULL_URI: `${services.endpoint}/container` },
      signs: 'container',
    }),
    'nothing, and no metadata service': () => ({
      env: { AWS_EC2_METADATA_DISABLED: 'true' },
      sees: /there are no AWS credentials \(aws-credentials\)\nmint-ssh: hint: aws sso login, or name a profile/,
    }),
    'a profile that is misspelt': () => ({
      files: { '.aws/credentials': inFile('filed', 'work') },
      env: { AWS_PROFILE: 'wrok', AWS_REGION: undefined },
      sees: /the profile wrok, which AWS_PROFILE .* does not exist .*\(aws-credentials\)\n.*the profiles are work/,
    }),
    'a misspelt profile beside keys in the environment': () => ({
      env: { AWS_PROFILE: 'wrok', ...inEnvironment() },
      sees: /the profile wrok, which AWS_PROFILE .* does not exist/,
    }),
  };

  for (const [name, make] of Object.entries(setUps))
    test(name, async (context) => {
      const setUp = make();
      const home = makeHome(setUp.files);
      const inHome = (value: string | undefined) => value?.replace(/^home/, home);
      const more = Object.entries(setUp.env ?? {}).map(([key, value]) => {
        const path = key === 'PATH' ? `${inHome(value)}:${world.environment['PATH']}` : inHome(value);
        return [key, path] as const;
      });
      const env = shell(home, Object.fromEntries(more));
      const { vm = 'dev', profile, types } = setUp;
      const cwd = inHome(setUp.cwd);
      const pushes = world.cloud.pushes.length;
      let shown: string;
      let status: number | null;
      if (types === undefined) {
        const result = await login(vm, env, { profile, cwd });
        shown = result.stderr;
        ({ status } = result);
      } else {
        const command = `ssh -F '${world.sshConfigFile}' ${vm} true`;
        const child = world.start('script', ['-qec', command, '/dev/null'], { env, holdInput: true });
        await child.until(types.after);
        child.stdin.write(types.text);
        ({ status } = await child.done);
        shown = `${child.stdout}${child.stderr}`;
      }
      const signer = nameOf(world.cloud.pushes.slice(pushes).at(-1)?.accessKeyId);
      context.diagnostic(
        `signs: ${signer ?? '-'}; shows: ${
          shown
            .trim()
            .replaceAll(/\s*\n\s*/g, ' | ')
            .slice(0, 300) || '-'
        }`,
      );
      assert.equal(signer, setUp.signs, shown);
      assert.equal(status === 0, setUp.signs !== undefined, shown);
      if (setUp.sees !== undefined) assert.match(shown, setUp.sees);
      if (setUp.hides !== undefined) assert.doesNotMatch(shown, setUp.hides);
      for (const { secret, token } of keys.values())
        assert.ok(!shown.includes(secret) && !shown.includes(token), 'a secret is shown');
      if (awsCli === undefined || setUp.cli === 'not compared') return;
      const words = ['sts', 'get-caller-identity', '--query', 'Arn', '--output', 'text'];
      const cli = await world.run(awsCli, profile === undefined ? words : ['--profile', profile, ...words], {
        env: { ...env, AWS_DEFAULT_REGION: 'us-east-1' },
        ...(cwd === undefined ? {} : { cwd }),
      });
      const identity = nameOf(/user\/(\w+)/.exec(cli.stdout)?.[1]?.toUpperCase());
      context.diagnostic(
        `the AWS CLI: ${identity ?? cli.stderr.trim().replaceAll(/\s+/g, ' ').slice(0, 200)}`,
      );
      assert.equal(
        identity,
        setUp.signs,
        `the AWS CLI signs as another identity: ${cli.stdout}${cli.stderr}`,
      );
    });

  /** A slow process that records each of its runs. */
  const counted = (seconds: number, key: string, more = '') => ({
    '.aws/config': processProfile('sh -c "$HOME/slow"'),
    slow: `#!/bin/sh\necho run >> "$HOME/runs"\nsleep ${seconds}\n${more}cat "$HOME/$VAULT_TOKEN/keys.json"\n`,
    'keys.json': asJson(key),
  });
  const runsOf = (home: string) => (readFileSync(join(home, 'runs'), 'utf8').match(/run/g) ?? []).length;

  test('thirty parallel first logins with a slow credential_process run it once, and show what they wait for', async () => {
    const home = makeHome(counted(4, 'slow'));
    const env = shell(home, { AWS_PROFILE: 'process' });
    await world.mint('agent', 'stop');
    const results = await Promise.all(Array.from({ length: 30 }, () => login('dev', env)));
    for (const { status, stderr } of results) assert.equal(status, 0, stderr);
    const waiting = /^mint-ssh: waiting for credential_process of profile process \(touch your key\?\)$/m;
    // On a busy machine some come when the result is there already.
    const told = results.filter(({ stderr }) => waiting.test(stderr)).length;
    assert.ok(told > 1, `${told} of 30 were told what they wait for`);
    assert.equal(runsOf(home), 1);
    assert.equal(nameOf(world.cloud.pushes.at(-1)?.accessKeyId), 'slow');
  });

  test('a credential_process that takes 25 s is waited for, once', async () => {
    const home = makeHome(counted(25, 'slow'));
    const { status, stderr } = await login('dev', shell(home, { AWS_PROFILE: 'process' }));
    assert.equal(status, 0, stderr);
    assert.equal(runsOf(home), 1);
  });

  test('a late result serves the next login', async () => {
    const home = makeHome(counted(3, 'slow'));
    const env = shell(home, { AWS_PROFILE: 'process' });
    const child = world.startSsh(['-o', 'ConnectTimeout=1', 'dev', 'true'], { env });
    await child.until(/waiting for credential_process/);
    process.kill(child.pid, 'SIGKILL');
    await child.done;
    const { status, stderr } = await login('dev', env);
    assert.equal(status, 0, stderr);
    assert.equal(runsOf(home), 1);
  });

  test('credentials that a command has resolved serve the logins that follow it', async () => {
    // `vms` asks as the profile of every VM.
    const home = makeHome({ ...counted(0, 'slow'), '.aws/credentials': inFile('filed', 'filed') });
    const env = shell(home, { AWS_PROFILE: 'process' });
    // `vms` uses a running agent and starts none.
    const first = await login('dev', shell(home, inEnvironment()));
    assert.equal(first.status, 0, first.stderr);
    const { status, stderr } = await world.run(mintProgram, ['vms', '--refresh'], { env });
    assert.equal(status, 0, stderr);
    const followed = await login('dev', env);
    assert.equal(followed.status, 0, followed.stderr);
    assert.equal(runsOf(home), 1);
    assert.equal(nameOf(world.cloud.pushes.at(-1)?.accessKeyId), 'slow');
    // Another shell may get other credentials from the same process.
    const other = await login('dev', { ...env, MINT_TEST: 'another shell' });
    assert.equal(other.status, 0, other.stderr);
    assert.equal(runsOf(home), 2);
  });

  test('a command that logs in resolves them once, also where it has to start the agent', async () => {
    const home = makeHome(counted(0, 'slow'));
    const env = shell(home, { AWS_PROFILE: 'process' });
    await world.mint('agent', 'stop');
    const { instance, port } = world.vm('dev');
    const words = ['ssh', instance, '--', '-p', String(port), '-l', loginUser, 'echo in'];
    const { status, stdout, stderr } = await world.run(mintProgram, words, { env });
    assert.deepEqual({ status, stdout }, { status: 0, stdout: 'in\n' }, stderr);
    assert.equal(runsOf(home), 1);
    assert.equal(nameOf(world.cloud.pushes.at(-1)?.accessKeyId), 'slow');
  });

  test('a command waits 5 s for an agent that does not take them, and a login then resolves its own', async () => {
    const home = makeHome({ ...counted(0, 'slow'), '.aws/credentials': inFile('filed', 'filed') });
    const env = shell(home, { AWS_PROFILE: 'process' });
    const first = await login('dev', shell(home, inEnvironment()));
    assert.equal(first.status, 0, first.stderr);
    const [agent] = world.agents();
    assert.ok(agent !== undefined);
    process.kill(agent.pid, 'SIGSTOP');
    try {
      const { status, stdout, stderr, milliseconds } = await world.run(mintProgram, ['vms', '--refresh'], {
        env,
        timeout: 60_000,
      });
      assert.equal(status, 0, stderr);
      assert.match(stdout, /^dev /m);
      assert.ok(milliseconds >= 5_000 && milliseconds < 20_000, `${milliseconds} ms`);
    } finally {
      process.kill(agent.pid, 'SIGCONT');
    }
    const followed = await login('dev', env);
    assert.equal(followed.status, 0, followed.stderr);
  });

  test('two shells with two accounts at the same time each get their own, also from one credential_process', async () => {
    const home = makeHome({
      ...counted(2, 'slow'),
      'one/keys.json': asJson('process'),
      'two/keys.json': asJson('variables'),
    });
    const before = world.cloud.pushes.length;
    const as = (VAULT_TOKEN: string, vm: string) =>
      login(vm, shell(home, { AWS_PROFILE: 'process', VAULT_TOKEN }));
    // `one` and `two` push to the same VM at the same time.
    const results = await Promise.all(['one', 'two', 'one', 'two'].map((token) => as(token, 'dev')));
    for (const { status, stderr } of results) assert.equal(status, 0, stderr);
    const signers = new Set(world.cloud.pushes.slice(before).map(({ accessKeyId }) => nameOf(accessKeyId)));
    assert.deepEqual([...signers].sort(), ['process', 'variables']);
    assert.equal(runsOf(home), 2);
  });

  test('credentials that expire during a session end neither it nor the next login', async () => {
    const { id, secret, token } = keyOf('expiring');
    const expiresAt = Date.now() + 5_000;
    world.cloud.accessKeys.set(id, { secret, sessionToken: token, expiresAt });
    const first = asJson('expiring', { SessionToken: token, Expiration: new Date(expiresAt).toISOString() });
    const home = makeHome({ ...counted(0, 'slow'), 'keys.json': first });
    const env = shell(home, { AWS_PROFILE: 'process' });
    const session = world.startSsh(['dev', 'echo in; cat'], { env, holdInput: true });
    await session.until(/in\n/);
    writeFileSync(join(home, 'keys.json'), asJson('process'));
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, expiresAt - Date.now())));
    session.stdin.write('still here\n');
    await session.until(/still here/);
    const before = world.cloud.pushes.length;
    const { status, stderr } = await login('pinned', shell(home, { AWS_PROFILE: 'process' }), {});
    assert.equal(status, 255, 'its profile is another one');
    assert.match(stderr, /profile "?filed"? does not exist/);
    const next = await login('dev', { ...env, MINT_TEST: 'another shell' });
    assert.equal(next.status, 0, next.stderr);
    session.stdin.end();
    await session.done;
    assert.equal(nameOf(world.cloud.pushes.slice(before).at(-1)?.accessKeyId), 'process');
  });

  test('no secret is in a log, an argument, a file or the environment of another process', async () => {
    const home = makeHome({ '.aws/config': ssoConfig, [ssoCache]: ssoToken(3_600_000) });
    const env = shell(home, { AWS_PROFILE: 'sso' });
    const session = world.startSsh(['-v', 'dev', 'echo in; cat'], { env, holdInput: true });
    await session.until(/in\n/);
    const { secret, token } = keyOf('sso');
    const hits = runningProcesses().filter(({ command, environment }) =>
      [secret, token].some((text) => `${command}\n${environment}`.includes(text)),
    );
    assert.deepEqual(hits, []);
    for (const name of ['agent.log', 'run/agent.log', 'audit.log', 'cache/vms.json'])
      for (const text of [secret, token]) assert.ok(!(world.file(name) ?? '').includes(text), name);
    assert.ok(!session.stderr.includes(secret) && !session.stderr.includes(token));
    session.stdin.end();
    await session.done;
  });
});
