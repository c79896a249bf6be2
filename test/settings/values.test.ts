/** What a VM's settings are in the end: each key's place, the defaults, the forms of values, and which VMs are known. */
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { MintError } from '../../src/errors.ts';
import { type Paths, resolvePaths } from '../../src/platform/paths.ts';
import { knownVm, loadSettings, type Settings, usesAws } from '../../src/settings/settings.ts';
import { shownKey } from '../../src/settings/settings-file.ts';
import { settingsKeys } from '../../src/settings/settings-keys.ts';
import { ownDirectory, refusal } from '../platform/directory.ts';

function pathsWith(context: TestContext, sshToml: string, configToml?: string): Paths {
  const paths = resolvePaths({ configDir: ownDirectory(context) });
  writeFileSync(paths.sshToml, sshToml, { mode: 0o600 });
  if (configToml !== undefined) writeFileSync(paths.configToml, configToml, { mode: 0o600 });
  return paths;
}

function settingsOf(context: TestContext, sshToml: string, configToml?: string): Settings {
  return loadSettings(pathsWith(context, sshToml, configToml), {});
}

/** The hint of the error that a function throws. */
function hintOf(run: () => unknown): string | undefined {
  try {
    run();
  } catch (error) {
    if (error instanceof MintError) return error.hint;
    throw error;
  }
  return assert.fail('nothing was thrown');
}

const defaults = {
  user: 'ubuntu',
  port: 22,
  hasLogin: false,
  host: undefined,
  instance: undefined,
  region: undefined,
  profile: undefined,
  verify: 'console',
  acceptChanged: 'ask',
  requireBinding: false,
  keyType: 'ed25519',
  start: 'ask',
  route: 'auto',
  via: undefined,
  multiplex: undefined,
  preferredAuthentications: 'publickey',
  upstreamAgent: undefined,
  keyLifetime: undefined,
  access: undefined,
  identity: undefined,
};

describe('the settings of a VM', () => {
  test('are the defaults where nothing is set', (context) => {
    assert.deepEqual(settingsOf(context, '[vm.dev]\n').vm('dev'), { name: 'dev', ...defaults });
  });

  test('have every value that its table sets', (context) => {
    const text = `[vm.dev]
user = "ci"
port = 2222
host = "203.0.113.7"
instance = "i-0123456789abcdef0"
region = "eu-west-1"
profile = "work"
verify = "tofu"
accept_changed = "console"
require_binding = true
key_type = "rsa-3072"
start = "never"
route = "public"
via = "me@bastion"
multiplex = "10m"
preferred_authentications = "publickey,keyboard-interactive"
upstream_agent = "~/agent.sock"
key_lifetime = "1h"
access = "instance-connect"
identity = "~/id.pub"
`;
    assert.deepEqual(settingsOf(context, text).vm('dev'), {
      name: 'dev',
      user: 'ci',
      port: 2222,
      hasLogin: true,
      host: '203.0.113.7',
      instance: 'i-0123456789abcdef0',
      region: 'eu-west-1',
      profile: 'work',
      verify: 'tofu',
      acceptChanged: 'console',
      requireBinding: true,
      keyType: 'rsa-3072',
      start: 'never',
      route: 'public',
      via: 'me@bastion',
      multiplex: '10m',
      preferredAuthentications: 'publickey,keyboard-interactive',
      upstreamAgent: join(homedir(), 'agent.sock'),
      keyLifetime: '1h',
      access: 'instance-connect',
      identity: join(homedir(), 'id.pub'),
    });
  });

  test('do not share a connection with multiplex = "none"', (context) => {
    const settings = settingsOf(context, 'multiplex = "5m"\n[vm.dev]\nmultiplex = "none"\n[vm.other]\n');
    assert.equal(settings.vm('dev')?.multiplex, undefined);
    assert.equal(settings.vm('other')?.multiplex, '5m');
  });

  test('have the upstream agent of the VM alone; that of all VMs is beside them', (context) => {
    const settings = settingsOf(
      context,
      'upstream_agent = "/all"\n[vm.dev]\nupstream_agent = "/dev"\n[vm.x]\n',
    );
    assert.equal(settings.upstreamAgent, '/all');
    assert.equal(settings.vm('dev')?.upstreamAgent, '/dev');
    assert.equal(settings.vm('x')?.upstreamAgent, undefined);
  });

  test('have the login only if both user and port are set', (context) => {
    const settings = settingsOf(
      context,
      '[vm.both]\nuser = "a"\nport = 1\n[vm.user]\nuser = "a"\n[vm.port]\nport = 1\n[vm.none]\n',
    );
    assert.deepEqual(
      settings.vms.map((name) => settings.vm(name)?.hasLogin),
      [true, false, false, false],
    );
  });

  test('have the usual login below what is set, and above the default', (context) => {
    const settings = settingsOf(context, '[vm.set]\nuser = "a"\nport = 1\n[vm.dev]\n');
    const login = (name: string, usual: object) => {
      const { user, port, hasLogin } = settings.named(name, usual);
      return [user, port, hasLogin];
    };
    const usual = { user: 'ec2-user', port: 41_122 };
    assert.deepEqual(login('set', usual), ['a', 1, true]);
    assert.deepEqual(login('dev', usual), ['ec2-user', 41_122, false]);
    assert.deepEqual(login('other', usual), ['ec2-user', 41_122, false]);
    assert.deepEqual(login('dev', {}), ['ubuntu', 22, false]);
  });

  test('have the profile of the flag before that of the files', (context) => {
    const paths = pathsWith(context, 'profile = "top"\n[vm.dev]\nprofile = "own"\n');
    assert.equal(loadSettings(paths, { profile: 'flag' }).vm('dev')?.profile, 'flag');
    assert.equal(loadSettings(paths, {}).vm('dev')?.profile, 'own');
    assert.equal(loadSettings(paths, {}).named('other').profile, 'top');
  });

  test('have nothing of Mint’s file but region and profile at its top', (context) => {
    const mint =
      'user = "mint"\nport = 9\nprofile = "no"\n[region]\naws_profile = "no"\n[a]\nregion = "no"\n';
    assert.deepEqual(settingsOf(context, '[vm.dev]\n', mint).vm('dev'), { name: 'dev', ...defaults });
    const values = settingsOf(context, '', 'region = ""\naws_profile = "mint"\n').named('dev');
    assert.deepEqual([values.region, values.profile], [undefined, 'mint']);
  });
});

describe('settings that contradict each other', () => {
  const refused = (context: TestContext, text: string, message: RegExp) => {
    const paths = pathsWith(context, text);
    assert.throws(() => loadSettings(paths, {}).named('dev'), refusal('bad-settings', message), text);
  };

  test('are a managed key and an identity of one VM', (context) => {
    refused(context, '[vm.dev]\nidentity = "/k.pub"\naccess = "key:work"\n', /^ssh\.toml:3: /);
    for (const access of ['instance-connect', 'injected']) {
      const settings = settingsOf(context, `[vm.dev]\nidentity = "/k.pub"\naccess = "${access}"\n`);
      assert.equal(settings.named('dev').identity, '/k.pub');
    }
    assert.equal(settingsOf(context, '[vm.dev]\nidentity = "/k.pub"\n').named('dev').identity, '/k.pub');
    assert.equal(settingsOf(context, '[vm.dev]\naccess = "key:work"\n').named('dev').access, 'key:work');
  });

  test('are a VM and itself as its jump host', (context) => {
    refused(context, '[vm.dev]\n\nvia = "dev"\n', /^ssh\.toml:3: /);
    refused(context, '[vm.dev]\nvia = "me@dev"\n', /^ssh\.toml:2: /);
    for (const via of ['dev@other', 'devel', 'me@other'])
      assert.equal(settingsOf(context, `[vm.dev]\nvia = "${via}"\n`).named('dev').via, via);
  });

  test('are a jump host and a route through an endpoint', (context) => {
    refused(context, '[vm.dev]\nroute = "endpoint"\nvia = "b"\n', /^ssh\.toml:3: /);
    for (const route of ['public', 'private', 'auto'])
      assert.equal(settingsOf(context, `[vm.dev]\nroute = "${route}"\nvia = "b"\n`).named('dev').via, 'b');
  });

  test('are a host and a route to another address', (context) => {
    for (const route of ['endpoint', 'private'])
      refused(context, `[vm.dev]\nhost = "h"\nroute = "${route}"\n`, /^ssh\.toml:3: /);
    for (const route of ['public', 'auto'])
      assert.equal(settingsOf(context, `[vm.dev]\nhost = "h"\nroute = "${route}"\n`).named('dev').host, 'h');
  });
});

describe('a VM is known', () => {
  test('by ssh.toml, by its instance id and by its block, and else not', (context) => {
    const paths = pathsWith(context, '[vm.dev]\n');
    mkdirSync(dirname(paths.sshConfig), { recursive: true });
    writeFileSync(paths.sshConfig, 'Host written\n    User me\n', { mode: 0o600 });
    const settings = loadSettings(paths, {});
    for (const name of ['dev', 'written', 'i-01234567', 'i-0123456789abcdef0']) {
      assert.ok(settings.knows(name), name);
      assert.equal(knownVm(settings, name).name, name);
    }
    for (const name of ['other', 'i-0123456', 'i-01234567-x']) {
      assert.ok(!settings.knows(name), name);
      assert.throws(() => knownVm(settings, name), refusal('vm-not-found'));
    }
  });

  test('and one that is not: the hint has the nearest name, else the first ten, else how to add one', (context) => {
    const some = settingsOf(context, '[vm.build]\n[vm.dev]\n');
    assert.match(hintOf(() => knownVm(some, 'biuld')) ?? '', /: build$/);
    assert.match(hintOf(() => knownVm(some, 'frontend')) ?? '', /build, dev$/);
    assert.match(hintOf(() => knownVm(settingsOf(context, ''), 'dev')) ?? '', /\[vm\.NAME\]/);
    const many = settingsOf(context, Array.from({ length: 12 }, (_, at) => `[vm.vm${at}]\n`).join(''));
    assert.match(hintOf(() => knownVm(many, 'frontend')) ?? '', /vm8, vm9$/);
  });
});

test('a login needs AWS to push a key, to find an address or to read a console', () => {
  const needs = (vm: Partial<Parameters<typeof usesAws>[0]>) =>
    usesAws({ host: undefined, instance: undefined, access: undefined, identity: undefined, ...vm });
  const host = 'h';
  const instance = 'i-01234567';
  for (const access of [undefined, 'instance-connect']) {
    assert.ok(needs({ access }));
    assert.ok(needs({ access, host }));
    assert.ok(needs({ access, host, identity: '/k.pub' }));
  }
  for (const access of ['key:work', 'injected']) {
    assert.ok(!needs({ access, host }), access);
    assert.ok(needs({ access, host, instance }), access);
    assert.ok(!needs({ access, host, identity: '/k.pub' }), access);
  }
  assert.ok(needs({ access: 'key:work' }));
  assert.ok(!needs({ access: 'injected' }));
  assert.ok(needs({ access: 'injected', identity: '/k.pub' }));
});

describe('the hint', () => {
  const hint = (context: TestContext, text: string) => hintOf(() => settingsOf(context, text)) ?? '';

  test('of an unknown setting lists those of its place, after one that is near', (context) => {
    assert.match(hint(context, 'usr = 1\n'), /^did you mean user\? the settings are user, /);
    const top = hint(context, 'quite_another = 1\n');
    assert.match(top, /^the settings are user, .*run_dir/);
    assert.doesNotMatch(top, /instance|host,|identity/);
    const own = hint(context, '[vm.dev]\nquite_another = 1\n');
    assert.match(own, /instance, host, access, identity/);
    assert.doesNotMatch(own, /run_dir/);
  });

  test('of two names that differ in case, and of an invalid name, says what to change', (context) => {
    assert.match(hint(context, '[vm.dev]\n[vm.Dev]\n'), /rename/);
    assert.match(hint(context, '[vm."a/b"]\n'), /1 to 63 letters/);
  });
});

test('a long key is shown in part', () => {
  assert.equal(shownKey(['x'.repeat(60)]), `"${'x'.repeat(60)}"`);
  assert.equal(shownKey(['x'.repeat(30), 'y'.repeat(30)]), `"${'x'.repeat(30)}.${'y'.repeat(29)}…"`);
});

test('a file with two byte order marks is refused', (context) => {
  const paths = pathsWith(context, '\uFEFF\uFEFF[vm.dev]\n');
  assert.throws(() => loadSettings(paths, {}), refusal('bad-settings', /^ssh\.toml:1: /));
});

test('an error of run_dir has its line', (context) => {
  const paths = pathsWith(context, 'user = "me"\nrun_dir = "/tm\\u0070"\n');
  assert.throws(() => loadSettings(paths, {}), refusal('bad-settings', /^ssh\.toml:2: run_dir/));
});

test('a line of a string that reads like run_dir is refused, because the proxy would read it', (context) => {
  const paths = pathsWith(context, 'profile = """\\\nrun_dir = "/x" \\\n"""\n');
  assert.throws(() => loadSettings(paths, {}), refusal('bad-settings', /^ssh\.toml:1: run_dir/));
});

describe('the values of a setting', () => {
  const accepts = (key: string, value: string | number | boolean) => {
    const rule = settingsKeys[key];
    assert.ok(rule !== undefined, key);
    return rule.accepts(value);
  };
  const most = (first: string, length: number) => first + 'x'.repeat(length - 1);
  const label = most('a', 63);
  const forms: Readonly<Record<string, readonly [good: readonly unknown[], bad: readonly unknown[]]>> = {
    user: [
      ['a', '_a', '0', 'Z', 'A.b-c_d', most('a', 32)],
      [most('a', 33), '.a', '-a', 'a\n', '\na', 'a b', '', 1, true],
    ],
    port: [
      [1, 22, 65_535],
      [0, -1, 65_536, 1.5, '22', true, Number.NaN],
    ],
    region: [
      ['us-east-1', 'us-gov-west-1', 'eusc-de-east-1', 'ap-southeast-12'],
      ['us-east', 'us-east-1a', 'us-east-1\n', '\nus-east-1', 'us-east-123', 'us-1', 'u-east-1', '', 1],
    ],
    profile: [
      ['a', 'a b', 'ü', most('a', 128)],
      [most('a', 129), 'a\n', '\u2028', '\u2029', 'a\u0000', '\u202ea', '', 1],
    ],
    route: [
      ['public', 'private', 'endpoint', 'auto'],
      ['', 'Public', 1],
    ],
    via: [
      ['b', 'me@bastion', 'a.b-c_d', '_a@_b', '0@0', `${most('u', 64)}@b`, most('b', 253)],
      [
        '-b',
        '-m@b',
        '.b',
        'a@',
        '@b',
        'a@b@c',
        'a b',
        'b\n',
        '\nb',
        `${most('u', 65)}@b`,
        most('b', 254),
        '',
        1,
      ],
    ],
    verify: [
      ['console', 'tofu'],
      ['', 'ask', 1],
    ],
    accept_changed: [
      ['ask', 'console'],
      ['', 'tofu', 1],
    ],
    require_binding: [
      [true, false],
      ['true', 1, ''],
    ],
    key_type: [
      ['ed25519', 'rsa-3072'],
      ['', 'rsa', 1],
    ],
    start: [
      ['ask', 'always', 'never'],
      ['', 'yes', 1],
    ],
    multiplex: [
      ['none', '1s', '10m', '365d', '8760h', '525600m', '999999s'],
      ['366d', '8761h', '525601m', '0s', '01m', '1', 'm', '1w', '1000000s', '10m ', ' 10m', 10, true],
    ],
    preferred_authentications: [
      ['a', 'publickey,keyboard-interactive', most('a', 64), Array(16).fill(most('a', 64)).join()],
      [
        most('a', 65),
        Array(17).fill('a').join(),
        `a,${most('a', 65)}`,
        ',a',
        'a,',
        'a,,b',
        '-a',
        'a,-b',
        'A',
        'a\n',
        '\na',
        '',
        1,
      ],
    ],
    upstream_agent: [
      ['/a', '~/a', '/a b'],
      ['a', '~', '/', '/a\n', '', 1],
    ],
    key_lifetime: [
      ['1s', '30m', '12h', '999999d'],
      ['none', '0h', '1000000s', '1', 'h', '1h\n', '\n1h', '1.5h', '-1h', 1],
    ],
    instance: [
      ['i-01234567', 'i-0123456789abcdef0'],
      [
        'i-0123456',
        'i-012345678',
        'i-0123456789abcdef',
        'i-0123456789abcdef01',
        'xi-01234567',
        'i-01234567\n',
        1,
      ],
    ],
    host: [
      [
        '203.0.113.7',
        '::1',
        'fe80::1%eth0',
        'h',
        'A_b',
        '_a',
        'a.',
        'a.b-c.example.',
        label,
        `${label}.${label}`,
      ],
      [
        ...['-a', 'a-', 'a.-b', 'a-.b', 'a..b', '.', '.a', 'a..', 'a\n', '\na', 'a b', '', 1],
        ...[`${label}x`, `a.${label}x`, `${Array(4).fill(label).join('.')}`],
      ],
    ],
    access: [
      ['instance-connect', 'injected', 'key:work', 'key:ü', `key:${most('a', 128)}`],
      [
        'key:',
        'key:a/b',
        'key:a b',
        'key:a\n',
        'xinjected',
        'injectedx',
        'key',
        `key:${most('a', 129)}`,
        '',
        1,
      ],
    ],
    identity: [
      ['/a', '~/a'],
      ['a', '~', '', 1],
    ],
    run_dir: [
      ['/a', '~/a'],
      ['a', '~', '', 1],
    ],
  };
  for (const [key, [good, bad]] of Object.entries(forms)) {
    test(`have the form of ${key}`, () => {
      for (const value of good) assert.ok(accepts(key, value as string), JSON.stringify(value));
      for (const value of bad) assert.ok(!accepts(key, value as string), JSON.stringify(value));
    });
  }

  test('are listed here for every setting', () => {
    assert.deepEqual(Object.keys(forms).sort(), Object.keys(settingsKeys).sort());
  });

  test('have up to 253 characters for a host', () => {
    const name = `${Array(3).fill(label).join('.')}.${'a'.repeat(61)}`;
    assert.equal(name.length, 253);
    assert.ok(accepts('host', name));
    assert.ok(!accepts('host', `${name}a`));
  });

  test('are allowed at the top, below a VM, or at both', (context) => {
    const where = (key: string, value: string) => {
      const line = `${key} = ${value}\n`;
      return [line, `[vm.dev]\n${line}`].map((text) => {
        try {
          loadSettings(pathsWith(context, text), {});
          return true;
        } catch (error) {
          assert.ok(refusal('bad-settings', /not allowed here/)(error));
          return false;
        }
      });
    };
    const values: Readonly<Record<string, string>> = { port: '22', require_binding: 'true' };
    for (const [key, [[first]]] of Object.entries(forms)) {
      const places = { any: [true, true], top: [true, false], vm: [false, true] };
      const expected = ['run_dir'].includes(key)
        ? places.top
        : ['instance', 'host', 'access', 'identity'].includes(key)
          ? places.vm
          : places.any;
      assert.deepEqual(where(key, values[key] ?? JSON.stringify(first)), expected, key);
    }
  });
});
