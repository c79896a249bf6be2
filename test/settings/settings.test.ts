import assert from 'node:assert/strict';
import { chmodSync, symlinkSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { MintError } from '../../src/errors.ts';
import { type Paths, resolvePaths } from '../../src/platform/paths.ts';
import { loadSettings } from '../../src/settings/settings.ts';
import { settingsKeys } from '../../src/settings/settings-keys.ts';
import { ownDirectory, refusal } from '../platform/directory.ts';
import { fc } from '../property.ts';

const dev = '[vm.dev]\ninstance = "i-0123456789abcdef0"\nhost = "203.0.113.7"\n';

function withSettings(context: TestContext, sshToml: string | Buffer, configToml?: string): Paths {
  const paths = resolvePaths({ configDir: ownDirectory(context) });
  writeFileSync(paths.sshToml, sshToml, { mode: 0o600 });
  if (configToml !== undefined) writeFileSync(paths.configToml, configToml, { mode: 0o600 });
  return paths;
}

test('has no VMs without any file', (context) => {
  const settings = loadSettings(resolvePaths({ configDir: ownDirectory(context) }), {});
  assert.deepEqual(settings.vms, []);
  assert.equal(settings.vm('dev'), undefined);
});

test('a VM uses its own settings, then those of all VMs, then Mint’s', (context) => {
  const paths = withSettings(
    context,
    `user = "me"\nprofile = "work"\n${dev}port = 22\n[vm.build]\ninstance = "i-01234567"\nhost = "b.internal"\nuser = "ci"\n`,
  );
  const settings = loadSettings(paths, {});
  assert.deepEqual(settings.vms, ['dev', 'build']);
  const vm = settings.vm('dev');
  assert.equal(vm?.user, 'me');
  assert.equal(vm?.port, 22);
  assert.equal(vm?.profile, 'work');
  assert.equal(vm?.host, '203.0.113.7');
  assert.equal(vm?.access, undefined);
  assert.equal(settings.vm('build')?.user, 'ci');
  assert.equal(settings.vm('build')?.port, 22);
  const plain = loadSettings(withSettings(context, dev), {}).vm('dev');
  assert.equal(plain?.user, 'ubuntu');
  assert.equal(plain?.profile, undefined);
});

test('a flag overrides the VM, the VM the top, the top config.toml', (context) => {
  const mint = 'region = "eu-west-1"\naws_profile = "mint"\nvolume_size_gb = 50\n[extra]\nlist = [1]\n';
  const region = (sshToml: string, flag?: string) =>
    loadSettings(withSettings(context, sshToml, mint), { region: flag }).vm('dev')?.region;
  assert.equal(region(dev), 'eu-west-1');
  assert.equal(region(`region = "us-east-1"\n${dev}`), 'us-east-1');
  assert.equal(region(`region = "us-east-1"\n${dev}region = "us-east-2"`), 'us-east-2');
  assert.equal(region(`region = "us-east-1"\n${dev}region = "us-east-2"`, 'us-gov-west-1'), 'us-gov-west-1');
  assert.equal(loadSettings(withSettings(context, dev, mint), {}).vm('dev')?.profile, 'mint');
});

test('ignores the empty values that Mint writes', (context) => {
  const paths = withSettings(context, dev, 'region = ""\naws_profile = ""\n');
  assert.equal(loadSettings(paths, {}).vm('dev')?.region, undefined);
});

test('accepts every form of a table in TOML', (context) => {
  for (const text of [
    'vm.dev.instance = "i-01234567"\nvm.dev.host = "h"\n',
    'vm = { dev = { instance = "i-01234567", host = "h" } }\n',
    '[vm]\ndev = { instance = "i-01234567", host = "h" }\n',
    '[vm]\n[vm.dev]\nhost = \'h\'\ninstance = """i-01234567"""\n',
    '[vm."dev"]\r\n"host" = "h"\r\ninstance = "i-01234567"\r\n',
    '\uFEFF[vm.Dev]\nhost = "h"\ninstance = "i-01234567"\n',
  ]) {
    assert.equal(loadSettings(withSettings(context, text), {}).vm('dev')?.host, 'h', text);
  }
});

test('an error has the file, the line and the valid values', (context) => {
  const cases: [text: string, message: RegExp, hint: RegExp][] = [
    ['user = "me"\nusr = "x"\n', /^ssh\.toml:2: unknown setting "usr"$/, /user, port/],
    [`${dev}\n\nport = "22"\n`, /^ssh\.toml:6: port must be a whole number from 1 to 65535$/, /^undefined$/],
    ['port = 0', /^ssh\.toml:1: port must be/, /^undefined$/],
    ['port = 22.5', /^ssh\.toml:1: port must be/, /^undefined$/],
    ['port = [22]', /^ssh\.toml:1: port must be/, /^undefined$/],
    ['port = 2001-01-01', /^ssh\.toml:1: port must be/, /^undefined$/],
    ['user = "me"\nuser = "you"\n', /^ssh\.toml:2: /, /TOML/],
    ['user = "me\n', /^ssh\.toml:1: /, /TOML/],
    ['[vm.dev]\n[vm.dev]\n', /^ssh\.toml:2: /, /TOML/],
    ['[[vm.dev]]\n', /^ssh\.toml:1: "vm\.dev" must be a table$/, /\[vm\.NAME\]/],
    ['vm = 3', /^ssh\.toml:1: "vm" must be a table$/, /\[vm\.NAME\]/],
    ['[vm.dev.more]\n', /^ssh\.toml:1: unknown table or setting "vm\.dev\.more"$/, /only tables/],
    ['[other]\n', /^ssh\.toml:1: unknown table/, /only tables/],
    ['host = "h"\n', /^ssh\.toml:1: host is not allowed here$/, /below a \[vm\.NAME\]/],
    [`${dev}run_dir = "/x"\n`, /^ssh\.toml:4: run_dir is not allowed here$/, /at the top/],
    ['constructor = 1\n', /^ssh\.toml:1: unknown setting "constructor"$/, /user/],
    ['["__proto__"]\n', /^ssh\.toml:1: unknown table/, /only tables/],
    ['"a\\u001b[31mb" = 1\n', /^ssh\.toml:1: unknown setting "a\\u\{1b\}\[31mb"$/, /user/],
  ];
  for (const [text, message, hint] of cases) {
    assert.throws(
      () => loadSettings(withSettings(context, text), {}),
      (error: MintError) => {
        assert.ok(refusal('bad-settings', message)(error), text);
        assert.match(String(error.hint), hint);
        assert.equal(error.exitStatus, 2);
        return true;
      },
    );
  }
});

for (const [key, bad] of Object.entries({
  user: ['', '-x', 'a b', 'a;b', 'x'.repeat(33), '$(id)', 'a%b', 'ü'],
  region: ['useast1', 'US-EAST-1', 'us-east-1 ', '-us-east-1'],
  profile: ['', 'a\\u0000b', 'a\\nb', 'a\\u202eb', 'x'.repeat(129)],
  route: ['fast', ''],
  instance: ['i-', 'i-0123456', 'i-0123456789abcdef01', 'I-01234567', 'i-0123456g', '-i-01234567'],
  host: [
    '',
    '-x',
    '-oProxyCommand=x',
    'a b',
    'a\\nb',
    'a/b',
    'x'.repeat(254),
    '$(id)',
    '[::1]',
    'a..b',
    `${'a'.repeat(250)}!`,
  ],
  run_dir: ['relative', '', '~', '/a\\nb'],
  key_type: ['rsa', 'rsa-2048', ''],
  access: ['password', 'key:', 'key:a/b', 'key:a b'],
  identity: ['key.pub', ''],
  multiplex: ['10', 'm', '0m', '10 m', '-1m', '366d', '999999h', 'yes'],
  key_lifetime: ['forever'],
  preferred_authentications: ['', 'publickey,', 'a b', 'Publickey'],
})) {
  test(`refuses an invalid ${key}`, (context) => {
    for (const value of bad) {
      const line = `${key} = "${value}"\n`;
      const text = settingsKeys[key]?.scope === 'vm' ? `[vm.dev]\n${line}` : line;
      assert.throws(
        () => loadSettings(withSettings(context, text), {}),
        refusal('bad-settings', /must be/),
        value,
      );
    }
  });
}

test('accepts IPv4 and IPv6 addresses and names as hosts', (context) => {
  for (const host of ['203.0.113.7', '2001:db8::1', 'localhost', 'a.b-c.example.', 'ip_1.internal', '::1']) {
    const text = `[vm.dev]\ninstance = "i-01234567"\nhost = "${host}"\n`;
    assert.equal(loadSettings(withSettings(context, text), {}).vm('dev')?.host, host);
  }
});

test('refuses a route that contradicts the host of a VM', (context) => {
  const instance = '[vm.dev]\ninstance = "i-0123456789abcdef0"\n';
  for (const route of ['private', 'endpoint'] as const) {
    const paths = withSettings(context, `${dev}route = "${route}"\n`);
    assert.throws(() => loadSettings(paths, {}), refusal('bad-settings', /^ssh\.toml:4: .*contradict/));
    for (const text of [`${instance}route = "${route}"\n`, `route = "${route}"\n${dev}`]) {
      assert.equal(loadSettings(withSettings(context, text), {}).vm('dev')?.route, route);
    }
  }
});

test('accepts valid values of every setting', (context) => {
  const cases: Record<string, string[]> = {
    route: ['"public"', '"auto"'],
    accept_changed: ['"console"', '"ask"'],
    verify: ['"tofu"', '"console"'],
    start: ['"always"', '"ask"', '"never"'],
    key_type: ['"ed25519"', '"rsa-3072"'],
    require_binding: ['true', 'false'],
    multiplex: ['"10m"', '"365d"', '"999999s"', '"none"'],
    upstream_agent: ['"/run/agent.sock"', '"~/agent.sock"'],
    key_lifetime: ['"1h"'],
    preferred_authentications: ['"publickey,keyboard-interactive"', '"publickey"'],
    access: ['"instance-connect"', '"injected"', '"key:work"'],
    identity: ['"~/.ssh/id_ed25519.pub"'],
  };
  for (const [key, values] of Object.entries(cases)) {
    for (const value of values) {
      const settings = loadSettings(withSettings(context, `${dev}${key} = ${value}\n`), {});
      assert.ok(settings.vm('dev') !== undefined, `${key} = ${value}`);
    }
  }
});

test('two VMs that differ only in case are ambiguous', (context) => {
  const paths = withSettings(context, `${dev}[vm.Dev]\nhost = "h"\n`);
  assert.throws(
    () => loadSettings(paths, {}),
    refusal('vm-ambiguous', /^ssh\.toml:4: "vm\.Dev" and "vm\.dev" \(line 1\)/),
  );
});

test('refuses a VM with an invalid name, with its line', (context) => {
  for (const name of ['../x', 'a=b', '-oProxyCommand=x', '', 'a\\u0007b', 'ü', 'x'.repeat(300)]) {
    const paths = withSettings(context, `user = "me"\n[vm."${name}"]\n`);
    assert.throws(() => loadSettings(paths, {}), refusal('bad-vm-name', /^ssh\.toml:2: /), name);
  }
});

test('a VM may omit instance, host or both', (context) => {
  const settings = loadSettings(
    withSettings(context, `user = "me"\n${dev}[vm.half]\nhost = "h"\n[vm.bare]\n`),
    {},
  );
  const { host, instance, user } = settings.vm('half') ?? {};
  assert.deepEqual([host, instance, user], ['h', undefined, 'me']);
  assert.equal(settings.vm('bare')?.host, undefined);
  assert.equal(settings.vm('other'), undefined);
  const other = settings.named('other');
  assert.deepEqual([other.name, other.user, other.port], ['other', 'me', 22]);
});

test('run_dir is accepted only in the form that the proxy can read', (context) => {
  const runDir = (text: string) => {
    const { dir } = withSettings(context, text);
    const paths = resolvePaths({ configDir: dir });
    loadSettings(paths, {});
    return paths.run;
  };
  assert.equal(runDir('run_dir = "/short"\n'), '/short');
  assert.equal(runDir("user = 'me'\nrun_dir = '~/r' # home\n"), join(homedir(), 'r'));
  for (const text of ['run_dir = "/tm\\u0070"\n', 'run_dir = """/x"""\n', '"run_dir" = "/x"\n']) {
    assert.throws(() => runDir(text), refusal('bad-settings', /plain string/), text);
  }
  assert.throws(() => runDir('user = """\nrun_dir = "/x"\n"""\n'), refusal('bad-settings'));
});

test('the flags are checked like the settings', (context) => {
  const paths = withSettings(context, dev);
  assert.throws(() => loadSettings(paths, { region: 'x' }), refusal('bad-settings', /^--region must be/));
  assert.throws(() => loadSettings(paths, { profile: '' }), refusal('bad-settings', /^--profile must be/));
});

test('refuses a config.toml of Mint that is not TOML or has invalid values', (context) => {
  const load = (text: string) => () => loadSettings(withSettings(context, dev, text), {});
  assert.throws(
    load('region = "eu"\n'),
    refusal('bad-settings', /^config\.toml:1: "region" must be an AWS region/),
  );
  assert.throws(load('aws_profile = 1\n'), refusal('bad-settings', /^config\.toml:1: "aws_profile" must be/));
  assert.throws(load('a = 1\nnot toml\n'), refusal('bad-settings', /^config\.toml:2: /));
  load('toString = 1\nidle_timeout_minutes = 60\n')();
});

test('refuses files that others can write, links, and files that are too large or not text', (context) => {
  const open = withSettings(context, dev);
  chmodSync(open.sshToml, 0o622);
  assert.throws(() => loadSettings(open, {}), refusal('unsafe-permissions'));
  const linked = resolvePaths({ configDir: ownDirectory(context) });
  symlinkSync(open.sshToml, linked.sshToml);
  assert.throws(() => loadSettings(linked, {}), refusal('unsafe-permissions', /link/));
  const large = withSettings(context, `${dev}#${' '.repeat(1_000_000)}\n`);
  assert.throws(() => loadSettings(large, {}), refusal('bad-settings', /more than 1000000 bytes/));
  const binary = withSettings(context, Buffer.from('user = "me"\nregion = "\xff"\n', 'latin1'));
  assert.throws(() => loadSettings(binary, {}), refusal('bad-settings', /^ssh\.toml:2: .*UTF-8/));
});

test('returns settings or a MintError for any file', (context) => {
  const paths = withSettings(context, '');
  const pieces = [
    '[vm.',
    ']',
    '=',
    '"',
    "'",
    '\n',
    '{',
    '}',
    '[',
    ',',
    '.',
    '#',
    'dev',
    'port',
    '1',
    'true',
    '\\u00',
    '"""',
  ];
  fc.assert(
    fc.property(
      fc.array(fc.oneof(fc.constantFrom(...pieces), fc.string({ maxLength: 4 })), { maxLength: 25 }),
      (words) => {
        writeFileSync(paths.sshToml, words.join(''));
        try {
          const settings = loadSettings(paths, {});
          for (const name of settings.vms) settings.vm(name);
        } catch (error) {
          if (!(error instanceof MintError)) throw error;
          assert.ok(['bad-settings', 'bad-vm-name', 'vm-ambiguous'].includes(error.code), error.code);
        }
      },
    ),
    { numRuns: 400 },
  );
});

test('explains the usual mistakes in ssh.toml with a remedy', (context) => {
  const refused = (text: string) => {
    try {
      loadSettings(withSettings(context, text), {});
    } catch (error) {
      return error instanceof MintError ? `${error.message} | ${error.hint}` : String(error);
    }
    return 'accepted';
  };
  assert.equal(
    refused('[vm.dev]\nuser = ubuntu\n'),
    'ssh.toml:2: the value of user needs quotes | write: user = "ubuntu"',
  );
  assert.equal(
    refused('region = eu-central-1 # mine\n'),
    'ssh.toml:1: the value of region needs quotes | write: region = "eu-central-1"',
  );
  assert.equal(
    refused('user = "me"\n[vm.dev\nport = 22\n'),
    'ssh.toml:2: the table [vm.dev has no closing bracket | write: [vm.dev]',
  );
  assert.match(
    refused('usr = "me"\n'),
    /^ssh\.toml:1: unknown setting "usr" \| did you mean user\? the settings/,
  );
  assert.match(refused('user = "me\n'), /^ssh\.toml:1: /);
});
