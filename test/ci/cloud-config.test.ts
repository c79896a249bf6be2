/** The user data of `job begin`: cloud-init's own check accepts it, and the login and host key work. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { parse } from 'yaml';
import { type BootKeys, cloudConfig } from '../../src/ci/cloud-config.ts';
import { publicKeyLine } from '../../src/ssh/key-encoding.ts';
import { testPath } from '../programs.ts';
import { type DebugWorld, makeDebugWorld } from './debug-world.ts';
import { bootJobVm } from './job-vm.ts';

const { privateKey, publicKey } = generateKeyPairSync('ed25519');
const authorizedKey = `${publicKeyLine(publicKey)} mint-job-build`;
const plain: BootKeys = { authorizedKey, user: undefined, sudo: false, hostKey: undefined };
const shapes: readonly BootKeys[] = [
  plain,
  { ...plain, hostKey: privateKey },
  { ...plain, user: 'ci' },
  { ...plain, user: 'ci', sudo: true, hostKey: privateKey },
  { ...plain, user: 'root', hostKey: privateKey },
  // Words that YAML could read as another type.
  ...['no', 'null', '0123', '1e3', 'y'].map((user) => ({ ...plain, user })),
];

describe('cloud-config', () => {
  const directory = mkdtempSync('/tmp/mc-');
  after(() => rmSync(directory, { recursive: true, force: true }));
  const unpacked = join(import.meta.dirname, '../../node_modules/.cache/cloud-init');
  const python = join(unpacked, 'usr/lib/python3/dist-packages');

  /** What `cloud-init schema -c FILE` says of each, in one process. */
  function schemaSays(texts: readonly string[]): { readonly status: number | null; readonly said: string } {
    const files = texts.map((text, at) => {
      const file = join(directory, `user-data-${at}`);
      writeFileSync(file, text);
      return file;
    });
    const each =
      'import sys\nfrom cloudinit.config.schema import main\nfor file in sys.argv[1:]:\n  sys.argv = ["schema", "-c", file]\n  main()';
    const args = ['-W', 'ignore', '-c', each, ...files];
    const { status, stdout, stderr } = spawnSync('/usr/bin/python3', args, {
      encoding: 'utf8',
      cwd: directory,
      env: { PATH: testPath, PYTHONPATH: python, LANG: 'C.UTF-8' },
    });
    return { status, said: `${stdout}${stderr}` };
  }

  test('cloud-init’s schema accepts every form, and rejects an invalid one', {
    skip: existsSync(python) ? false : 'cloud-init is not unpacked here: node test/prepare.ts',
  }, async () => {
    const { status, said } = schemaSays(await Promise.all(shapes.map(cloudConfig)));
    assert.equal(status, 0, said);
    assert.equal(said.match(/^Valid cloud-config/gm)?.length, shapes.length);
    assert.doesNotMatch(said, /deprecat/i);
    const wrong = (await cloudConfig({ ...plain, user: 'ci' })).replace(
      'ssh_authorized_keys',
      'ssh_keys_authorized',
    );
    assert.notEqual(schemaSays([wrong]).status, 0);
  });

  test('the user name stays a string in YAML', async () => {
    for (const { user } of shapes.filter((shape) => shape.user !== undefined)) {
      const { users } = parse(await cloudConfig({ ...plain, user }), { version: '1.1' });
      assert.deepEqual(
        [users[0], users[1].name, users[1].ssh_authorized_keys],
        ['default', user, [authorizedKey]],
      );
    }
  });

  test('OpenSSH reads the host key, and its halves match', async () => {
    const { ssh_keys: keys, ssh_deletekeys: deletes } = parse(
      await cloudConfig({ ...plain, hostKey: privateKey }),
    );
    const file = join(directory, 'host_key');
    writeFileSync(file, keys.ed25519_private, { mode: 0o600 });
    const derived = execFileSync('ssh-keygen', ['-y', '-P', '', '-f', file], { encoding: 'utf8' });
    assert.equal(derived.trim().split(' ').slice(0, 2).join(' '), keys.ed25519_public);
    assert.equal(deletes, true);
  });

  test('root is authorized by a separate entry, not by a key at the top', async () => {
    const config = parse(await cloudConfig({ ...plain, user: 'root' }));
    assert.deepEqual([config.disable_root, config.ssh_authorized_keys], [false, undefined]);
  });
});

describe('a VM that was booted with the user data', { timeout: 300_000 }, () => {
  let debug: DebugWorld;
  before(async () => {
    debug = await makeDebugWorld();
  });
  after(() => debug.end());

  test('accepts the job’s key, and even the first connection is verified', async () => {
    const { world } = debug;
    const vm = await debug.begin('boot', '--host-key');
    const shown = await world.mint('hosts', 'show', 'boot');
    const [, fingerprint = ''] = execFileSync(
      'ssh-keygen',
      ['-lf', join(vm.home, '..', 'ssh_host_ed25519_key')],
      {
        encoding: 'utf8',
      },
    ).split(' ');
    assert.ok(
      shown.stdout.includes(fingerprint),
      `the pin is not there before the first connection: ${shown.stdout}`,
    );
    const { status, stdout, stderr } = await world.ssh('boot', 'echo hello');
    assert.deepEqual([status, stdout, stderr], [0, 'hello\n', '']);
  });

  test('that is another machine is never logged in to', async () => {
    const { world } = debug;
    const begun = await world.mint(
      'job',
      'begin',
      'decoy',
      '--host-key',
      '--user',
      world.environment['USER'] ?? '',
    );
    // Another sshd at the VM's address: it accepts the key, and has its own host key.
    const [head = ''] = begun.stdout.split('ssh_deletekeys');
    const vm = await bootJobVm(join(world.directory, 'decoy'), head);
    try {
      await world.mint('job', 'set', 'decoy', '--host', '127.0.0.1', '--port', String(vm.port));
      const { status, stderr } = await world.mint('job', 'run', 'decoy', '--', 'true');
      assert.equal(status, 255);
      assert.match(stderr, /\(host-key-changed\)/);
      assert.equal(vm.sshd.accepted(), 0);
    } finally {
      await vm.end();
      await world.mint('job', 'end', 'decoy');
    }
  });

  test('is reached by plain ssh from `job begin` to `job end`, while other blocks change', async () => {
    const { world } = debug;
    await debug.begin('blocks');
    assert.match(world.file('ssh_config') ?? '', /^Host blocks mint-blocks$/m);
    assert.equal((await world.ssh('blocks', 'true')).status, 0);
    await world.mint('ssh-config', '--yes', '--file', world.sshConfigFile);
    assert.equal((await world.ssh('blocks', 'true')).status, 0, 'the block is gone after ssh-config');
    const own = await world.mint('ssh', 'blocks', '--', 'echo by name');
    assert.deepEqual([own.status, own.stdout], [0, 'by name\n'], own.stderr);
    await world.mint('job', 'end', 'blocks');
    assert.doesNotMatch(world.file('ssh_config') ?? '', /blocks/);
    assert.match(world.file('ssh_config') ?? '', /^Host other mint-other$/m);
  });

  test('does not take a name that refers to another host in the user’s ssh config', async () => {
    const { world } = debug;
    writeFileSync(world.sshConfigFile, '\nHost prod\n  HostName prod.example.org\n', { flag: 'a' });
    const begun = await world.mint('job', 'begin', 'prod');
    assert.equal(begun.status, 0, begun.stderr);
    assert.match(
      begun.stderr,
      /note: `ssh prod` does not reach the job's VM: .*\n.*log in with mint-ssh ssh prod/,
    );
    assert.doesNotMatch(world.file('ssh_config') ?? '', /prod/);
    await world.mint('job', 'end', 'prod');
  });

  test('has a name that only one job, and no other VM, uses', async () => {
    const { world } = debug;
    for (const [name, code] of [
      ['boot', 'job-exists'],
      ['other', 'bad-vm-name'],
      ['no/name', 'bad-vm-name'],
    ] as const) {
      const begun = await world.mint('job', 'begin', name);
      assert.notEqual(begun.status, 0);
      assert.match(begun.stderr, new RegExp(`\\(${code}\\)`));
      assert.equal(begun.stdout, '');
    }
    const misused: readonly (readonly string[])[] = [
      ['begin', 'x', '--user', 'a b'],
      ['begin', 'x', '--sudo'],
      ['begin', 'x', '--format', 'authorized-key', '--host-key'],
      ['begin', 'x', '--host', 'h'],
      ['set', 'boot'],
      ['set', 'boot', '--host', '-oProxyCommand=x'],
      ['set', 'boot', '--host', 'h', '--port', '0x16'],
      ['run', 'boot'],
    ];
    for (const words of misused) {
      const { status, stdout } = await world.mint('job', ...words);
      assert.deepEqual([status, stdout], [2, ''], words.join(' '));
    }
    const jobs = JSON.parse((await world.mint('job', 'list', '--json')).stdout) as {
      readonly vm: string;
    }[];
    assert.deepEqual(
      jobs.map(({ vm }) => vm),
      ['boot'],
    );
  });
});
