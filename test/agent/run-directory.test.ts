import assert from 'node:assert/strict';
import {
  chmodSync,
  chownSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { makeWorld, mintProgram, type Result, type World, waitFor } from '../openssh/world.ts';
import { controlClient, Host, newSession, openRequest, seenRequest } from './clients.ts';

const isRoot = process.getuid?.() === 0;
/** Only root can make mounts and files of another user. */
const asRoot = isRoot ? {} : { skip: 'needs root: a mount or a file of another user' };

describe('a run directory', { timeout: 300_000 }, () => {
  let world: World;
  before(async () => {
    world = await makeWorld({ withoutSshConfig: true });
  });
  const used: string[] = [];
  after(async () => {
    for (const directory of used) await stop(directory);
    await world.end();
  });
  const stop = (directory: string) => world.mint('agent', 'stop', '--config-dir', directory);

  /** A configuration directory that knows the same VM; its agent is ended with the tests. */
  function place(name: string, lines = ''): string {
    const directory = join(world.directory, name);
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    writeFileSync(
      join(directory, 'ssh.toml'),
      lines + readFileSync(join(world.configDir, 'ssh.toml'), 'utf8'),
      {
        mode: 0o600,
      },
    );
    used.push(directory);
    return directory;
  }

  const login = (directory: string) => world.mint('ssh', '--config-dir', directory, 'dev', '--', 'echo in');

  function refused({ status, stdout, stderr }: Result, code: string, words: RegExp): void {
    // 255 where ssh saw its proxy fail; else our own, before ssh was started.
    assert.ok(status === 255 || status === (code === 'unsafe-permissions' ? 3 : 1), `${status}: ${stderr}`);
    assert.equal(stdout, '');
    assert.match(stderr, new RegExp(`mint-ssh: error: .*\\(${code}\\)`));
    assert.match(stderr, words);
    assert.doesNotMatch(stderr, /\n {4}at /);
  }

  function works({ status, stdout, stderr }: Result): void {
    assert.deepEqual([status, stdout], [0, 'in\n'], stderr);
  }

  test('is created if it is missing, with mode 0700', async () => {
    const directory = place('plain');
    works(await login(directory));
    const { stdout } = await world.run('stat', [
      '-c',
      '%a',
      ...[
        'run',
        'run/agent',
        'run/control.sock',
        'run/agent/dev.sock',
        'run/agent.log',
        'run/lock',
        'run/forward.sock',
      ].map((name) => join(directory, name)),
    ]);
    assert.deepEqual(stdout.trim().split('\n'), ['700', '700', '600', '600', '600', '600', '600']);
  });

  for (const mode of [0o777, 0o755, 0o770]) {
    test(`of mode ${mode.toString(8)} is refused, with and without an agent in it`, async () => {
      const directory = place(`mode-${mode.toString(8)}`);
      mkdirSync(join(directory, 'run'));
      chmodSync(join(directory, 'run'), mode);
      refused(await login(directory), 'unsafe-permissions', /chmod/);
      chmodSync(join(directory, 'run'), 0o700);
      works(await login(directory));
      chmodSync(join(directory, 'run'), mode);
      refused(await login(directory), 'unsafe-permissions', /chmod/);
      refused(await world.mint('proxy', 'dev', '--config-dir', directory), 'unsafe-permissions', /chmod 700/);
      chmodSync(join(directory, 'run'), 0o700);
    });
  }

  test('of another user is refused', asRoot, async () => {
    const directory = place('other-user');
    mkdirSync(join(directory, 'run'), { mode: 0o700 });
    chownSync(join(directory, 'run'), 65_534, 65_534);
    refused(await login(directory), 'unsafe-permissions', /another user|your own/);
  });

  test('that is a link is refused', async () => {
    const directory = place('link');
    mkdirSync(join(world.directory, 'elsewhere'), { mode: 0o700 });
    symlinkSync(join(world.directory, 'elsewhere'), join(directory, 'run'));
    refused(await login(directory), 'unsafe-permissions', /symbolic link|directory of your own/);
  });

  test('that is a file is refused by its path', async () => {
    const directory = place('file');
    writeFileSync(join(directory, 'run'), '');
    refused(await login(directory), 'unsafe-permissions', /run\\?" is not a directory/);
    const status = await world.mint('agent', 'status', '--config-dir', directory);
    assert.doesNotMatch(status.stderr, /internal error/);
  });

  test('that cannot be read is an error with its path', async () => {
    const directory = place('loop');
    symlinkSync(join(directory, 'run'), join(directory, 'run'));
    const { status, stderr } = await world.mint('agent', 'status', '--config-dir', directory);
    assert.deepEqual([status, stderr.includes('internal error')], [1, false], stderr);
  });

  test('with a link, or a file, for a control socket is refused, and the link is not followed', async () => {
    const good = place('good');
    works(await login(good));
    const directory = place('linked-socket');
    mkdirSync(join(directory, 'run'), { mode: 0o700 });
    symlinkSync(join(good, 'run/control.sock'), join(directory, 'run/control.sock'));
    refused(await login(directory), 'unsafe-permissions', /not a socket of yours[\s\S]*rm \//);
    await world.run('rm', [join(directory, 'run/control.sock')]);
    writeFileSync(join(directory, 'run/control.sock'), '');
    refused(await login(directory), 'unsafe-permissions', /not a socket of yours/);
    await world.run('rm', [join(directory, 'run/control.sock')]);
    works(await login(directory));
  });

  test('with a directory in the place of a VM’s socket: the directory is removed', async () => {
    const directory = place('occupied');
    mkdirSync(join(directory, 'run/agent/dev.sock/deep'), { recursive: true, mode: 0o700 });
    chmodSync(join(directory, 'run'), 0o700);
    works(await login(directory));
  });

  test('that another machine has claimed is refused until the claim is two minutes old', async () => {
    const directory = place('machine');
    mkdirSync(join(directory, 'run'), { mode: 0o700 });
    const claim = join(directory, 'run/machine');
    writeFileSync(claim, `${'0123456789abcdef'.repeat(2)} the-\u001b[31mother\n`, { mode: 0o600 });
    const first = await login(directory);
    refused(first, 'agent-unavailable', /another machine[\s\S]*run_dir/);
    assert.ok(!first.stderr.includes('\u001b'));
    const past = new Date(Date.now() - 130_000);
    utimesSync(claim, past, past);
    works(await login(directory));
    assert.match(readFileSync(claim, 'utf8'), new RegExp(` ${hostname()}\n$`));
  });

  test('of an agent on this machine that was killed is taken over at once', async () => {
    const directory = place('killed');
    works(await login(directory));
    const agent = world.agents().find(({ command }) => command.includes(directory));
    process.kill(agent?.pid ?? 0, 'SIGKILL');
    await waitFor('it to end', 15_000, () => !world.agents().some(({ pid }) => pid === agent?.pid));
    works(await login(directory));
  });

  test('ninety characters deep is refused with a hint to a setting, and works with that', async () => {
    const deep = `d/${'deep'.repeat(30)}`.slice(0, 91 - world.directory.length);
    const directory = place(deep);
    assert.equal(directory.length, 92);
    refused(await login(directory), 'agent-unavailable', /too long for a socket[\s\S]*run_dir/);
    const short = join(world.directory, 'r');
    place(deep, `run_dir = "${short}"\n`);
    works(await login(directory));
    assert.ok(existsSync(join(short, 'control.sock')));
  });

  test('too deep only for a VM’s socket is an error, and the agent still reports its status', async () => {
    const directory = place(`e/${'deep'.repeat(30)}`.slice(0, 80 - world.directory.length));
    const text = readFileSync(join(directory, 'ssh.toml'), 'utf8');
    const long = 'a-vm-with-a-name-that-is-long';
    writeFileSync(join(directory, 'ssh.toml'), text.replace('[vm."dev"]', `[vm.${long}]`), { mode: 0o600 });
    const agent = world.start(mintProgram, ['agent', '--config-dir', directory]);
    await agent.until(/listens/);
    const { status, stderr } = await world.mint('proxy', long, '--config-dir', directory);
    assert.equal(status, 1);
    assert.match(stderr, /too long for a socket[\s\S]*\(agent-unavailable\)[\s\S]*run_dir/);
    const state = await world.mint('agent', 'status', '--config-dir', directory);
    assert.equal(state.status, 0, state.stderr);
  });

  /** Runs one login in a mount namespace of its own, in which `mounts` were made. */
  function inNamespace(mounts: string, directory: string): Promise<Result> {
    const script = `${mounts}\n"${mintProgram}" ssh --config-dir "${directory}" dev -- echo in; status=$?
      "${mintProgram}" agent stop --config-dir "${directory}" >/dev/null 2>&1; exit $status`;
    return world.run('unshare', ['-m', 'sh', '-e', '-c', script.replace('set -e', '')]);
  }

  test(
    'below a read-only configuration directory is refused, by what cannot be written',
    asRoot,
    async () => {
      const directory = place('read-only');
      const mounts = `mount --bind "${directory}" "${directory}"; mount -o remount,ro,bind "${directory}"; set +e`;
      refused(await inNamespace(mounts, directory), 'io-failed', /EROFS|read-only/);
      // With another run directory, a known VM is reached, and an unknown one is not trusted.
      place('read-only', `run_dir = "${join(world.directory, 'rw')}"\n`);
      mkdirSync(join(directory, 'hosts'), { mode: 0o700 });
      const unknown = await inNamespace(mounts, directory);
      refused(unknown, 'io-failed', /EROFS|read-only/);
      const known = place('known');
      // In the first login the VM proves its other host keys; the second one pins them.
      works(await login(known));
      works(await login(known));
      for (const name of [
        'known_hosts',
        'hosts/dev.json',
        'hosts/dev.known_hosts',
        'hosts/dev.libssh_known_hosts',
      ]) {
        copyFileSync(join(known, name), join(directory, name));
        chmodSync(join(directory, name), 0o600);
      }
      works(await inNamespace(mounts, directory));
    },
  );

  test('on a full disk is refused, and leaves no incomplete file', asRoot, async () => {
    const directory = place('full');
    const mounts = `mount -t tmpfs -o size=64k,mode=700 none "${directory}"
      cp "${join(place('spare'), 'ssh.toml')}" "${directory}/ssh.toml"; chmod 600 "${directory}/ssh.toml"
      dd if=/dev/zero of="${directory}/fill" bs=1k count=1000 2>/dev/null || true; set +e`;
    refused(await inNamespace(mounts, directory), 'io-failed', /ENOSPC|disk is full/);
  });

  test('that fills up does not prevent a login to a known VM', asRoot, async () => {
    const directory = place('fills');
    const spare = place('filled-from');
    works(await login(spare));
    const mounts = `mount -t tmpfs -o size=256k,mode=700 none "${directory}"
      mkdir -m 700 "${directory}/hosts"
      cp -p "${spare}/ssh.toml" "${spare}/known_hosts" "${directory}/"
      cp -p "${spare}/hosts/dev.json" "${spare}/hosts/dev.known_hosts" "${directory}/hosts/"
      set +e
      "${mintProgram}" ssh --config-dir "${directory}" dev -- true
      dd if=/dev/zero of="${directory}/fill" bs=1k count=1000 2>/dev/null`;
    works(await inNamespace(mounts, directory));
  });

  test('beside a hosts directory that others may write to: logins are refused, the agent lives', async () => {
    const directory = place('hosts-open');
    works(await login(directory));
    const hosts = join(directory, 'hosts');
    const pid = () => world.agents().find(({ command }) => command.includes(directory))?.pid;
    const before = pid();
    assert.equal((await world.mint('hosts', 'forget', 'dev', '--config-dir', directory)).status, 0);
    const control = await controlClient(join(directory, 'run/control.sock'));
    control.send(openRequest(world, 'dev'));
    await control.reply('target');
    const host = new Host();
    control.send(seenRequest(host.blob, host.sign(newSession())));
    await control.reply('host-key-checked');
    chmodSync(hosts, 0o777);
    await control.close();
    refused(await login(directory), 'unsafe-permissions', /chmod/);
    // The AWS requests after a first login are made two seconds later.
    await sleep(2500);
    chmodSync(hosts, 0o700);
    assert.equal(pid(), before);
    await stop(directory);
    works(await login(directory));
  });

  test('has no control socket after the agent was stopped, and works for the next one', async () => {
    const directory = place('stale');
    works(await login(directory));
    await stop(directory);
    assert.ok(!existsSync(join(directory, 'run/control.sock')));
    works(await login(directory));
  });
});
