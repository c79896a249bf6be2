import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import { demoRegion } from '../cloud/cloud.ts';
import { tags } from '../openssh/machines.ts';
import { type Child, makeWorld, mintProgram, type Result, type World, waitFor } from '../openssh/world.ts';
import { libfaketime, testPath } from '../programs.ts';

const unitName = 'mint-ssh-agent.service';

describe('the agent that starts at login', { timeout: 300_000 }, () => {
  let world: World;
  let bin: string;
  before(async () => {
    world = await makeWorld({ vms: { dev: {}, other: {} } });
    bin = join(world.directory, 'bin');
    mkdirSync(bin);
    // A test must not reach the machine's own systemd.
    const script = `#!/bin/sh
echo "$*" >> ${world.directory}/calls
if [ -e ${world.directory}/offline ]; then echo 'Failed to connect to bus' >&2; exit 1; fi
`;
    writeFileSync(join(bin, 'systemctl'), script, { mode: 0o755 });
  });
  afterEach(async () => {
    rmSync(dirname(unit()), { recursive: true, force: true });
    await world.mint('agent', 'stop');
    await waitFor('the agents to end', 60_000, () => world.agents().length === 0);
  });
  after(() => world.end());

  const unit = () => join(world.home, '.config/systemd/user', unitName);
  async function mint(word: string, { live = true } = {}): Promise<Result & { calls: string[] }> {
    const [calls, offline] = ['calls', 'offline'].map((name) => join(world.directory, name)) as [
      string,
      string,
    ];
    writeFileSync(calls, '');
    if (live) rmSync(offline, { force: true });
    else writeFileSync(offline, '');
    const env = { PATH: `${bin}:${world.environment['PATH']}` };
    const result = await world.run(mintProgram, ['agent', word], { env });
    return { ...result, calls: readFileSync(calls, 'utf8').split('\n').filter(Boolean) };
  }
  /** Runs the command of the unit as systemd would: with its arguments, and without the caller's environment. */
  function startUnit(more: Record<string, string> = {}): Child {
    const [, line = ''] = /^ExecStart=(.*)$/m.exec(readFileSync(unit(), 'utf8')) ?? [];
    const words = [...line.matchAll(/"([^"]*)"/g)].map(([, word = '']) => word);
    const bare = [
      `HOME=${world.home}`,
      `PATH=${testPath}`,
      ...Object.entries(more).map((pair) => pair.join('=')),
    ];
    return world.start('env', ['-i', ...bare, ...words], { timeout: 110_000 });
  }
  const socketOf = (vm: string) => join(world.configDir, 'run/agent', `${vm}.sock`);

  test('install writes the unit once, and systemd starts it', async () => {
    const first = await mint('install');
    assert.equal(first.status, 0, first.stderr);
    assert.match(first.stderr, /mint-ssh-agent\.service" was installed/);
    assert.ok(
      readFileSync(unit(), 'utf8').includes(
        `\nExecStart="${mintProgram}" "agent" "--stay" "--config-dir" "${world.configDir}"\n`,
      ),
    );
    assert.deepEqual(first.calls, [
      '--user show-environment',
      '--user daemon-reload',
      `--user enable --now ${unitName}`,
    ]);
    assert.equal(statSync(unit()).mode & 0o777, 0o644);
    const written = statSync(unit()).ino;
    const again = await mint('install');
    assert.deepEqual([again.status, again.stdout, again.calls], [0, '', first.calls]);
    assert.match(again.stderr, /is installed already/);
    assert.equal(statSync(unit()).ino, written);
    assert.deepEqual(readdirSync(dirname(unit())), [unitName]);
  });

  test('if systemd does not answer, install prints the commands to run', async () => {
    const { status, stderr, calls } = await mint('install', { live: false });
    assert.deepEqual([status, calls], [0, ['--user show-environment']]);
    assert.match(stderr, new RegExp(`systemctl --user enable --now ${unitName}`));
    assert.ok(existsSync(unit()));
  });

  test('without systemd, install fails and writes nothing', async () => {
    const { status, stderr } = await world.run(mintProgram, ['agent', 'install'], {
      env: { PATH: world.home },
    });
    assert.equal(status, 1);
    assert.match(stderr, /systemctl is not installed on this machine \(io-failed\)\n.*agent --stay/);
    assert.ok(!existsSync(unit()));
  });

  test('uninstall removes exactly what install wrote', async () => {
    await mint('install');
    const neighbour = join(dirname(unit()), 'other.service');
    writeFileSync(neighbour, '[Service]\n');
    const { status, stderr, calls } = await mint('uninstall');
    assert.equal(status, 0, stderr);
    assert.deepEqual(calls, [
      '--user show-environment',
      `--user disable --now ${unitName}`,
      '--user daemon-reload',
    ]);
    assert.deepEqual(readdirSync(dirname(unit())), ['other.service']);
    const again = await mint('uninstall');
    assert.deepEqual([again.status, again.calls], [0, []]);
    assert.match(again.stderr, /the agent is not installed/);
  });

  test('without systemd, uninstall removes the link that systemctl enable made', async () => {
    await mint('install');
    const wants = join(dirname(unit()), 'default.target.wants');
    mkdirSync(wants);
    symlinkSync(unit(), join(wants, unitName));
    symlinkSync('/elsewhere', join(wants, 'other.service'));
    assert.equal((await mint('uninstall', { live: false })).status, 0);
    assert.deepEqual(readdirSync(wants), ['other.service']);
    assert.ok(!existsSync(unit()));
  });

  test('install replaces an older unit of ours', async () => {
    await mint('install');
    const current = readFileSync(unit(), 'utf8');
    writeFileSync(unit(), current.replace('ExecStart="', 'ExecStart="/old'));
    const { status, stderr } = await mint('install');
    assert.equal(status, 0, stderr);
    assert.match(stderr, /was replaced/);
    assert.match(stderr, /at the next login/);
    assert.equal(readFileSync(unit(), 'utf8'), current);
  });

  test('does not change a file of that name that mint-ssh did not write', async () => {
    await mint('install');
    for (const text of ['[Service]\nExecStart=/opt/other\n', '']) {
      writeFileSync(unit(), text);
      for (const word of ['install', 'uninstall']) {
        const { status, stderr, calls } = await mint(word);
        assert.equal(status, 1);
        assert.match(stderr, /was not written by mint-ssh \(io-failed\)/);
        assert.ok(!calls.some((call) => /enable|disable/.test(call)), calls.join());
        assert.equal(readFileSync(unit(), 'utf8'), text);
      }
    }
    rmSync(unit());
    symlinkSync('/dev/null', unit());
    assert.equal((await mint('install')).status, 3);
  });

  test('the message of a failed systemctl is shown', async () => {
    const original = readFileSync(join(bin, 'systemctl'));
    writeFileSync(
      join(bin, 'systemctl'),
      '#!/bin/sh\ncase "$*" in *enable*) printf "Failed:\\033[2J unit is masked\\n" >&2; exit 1;; esac\n',
    );
    try {
      const { status, stderr } = await mint('install');
      assert.equal(status, 1);
      assert.match(
        stderr,
        /enable --now mint-ssh-agent\.service` failed: Failed:\\u\{1b\}\[2J unit is masked/,
      );
    } finally {
      writeFileSync(join(bin, 'systemctl'), original);
    }
  });

  test('the agent of the unit needs no environment, and has a socket for every VM before the first connection', async () => {
    await mint('install');
    // One more that neither ssh.toml nor a block names: EC2 has shown it to `vms`.
    const id = `i-${'0'.repeat(17)}`;
    const instance = { id, region: demoRegion, state: 'running', address: '127.0.0.1' } as const;
    world.cloud.instances.set(id, { ...instance, ...tags('listed') });
    assert.match((await world.mint('vms', '--refresh')).stdout, /listed/);
    rmSync(join(world.configDir, 'run/agent'), { recursive: true, force: true });
    const agent = startUnit();
    await agent.until(/the agent listens/, 60_000);
    await waitFor('the sockets', 60_000, () =>
      ['dev', 'other', 'listed'].every((vm) => existsSync(socketOf(vm))),
    );
    const { status, stdout, stderr } = await world.ssh('dev', 'echo in');
    assert.deepEqual([status, stdout], [0, 'in\n'], stderr);
    assert.equal(world.agents()[0]?.pid, agent.pid);
    assert.equal((await mint('uninstall')).status, 0);
    // Not started again by `Restart=on-failure`.
    assert.equal((await agent.done).status, 0);
    assert.ok(!existsSync(unit()));
  });

  test('the agent of the unit does not end when it is idle', async () => {
    await mint('install');
    const clock = { LD_PRELOAD: libfaketime, FAKETIME: '+0 x1200' };
    const stays = startUnit(clock);
    await stays.until(/the agent listens/, 60_000);
    // The other's half hour is over after a second and a half.
    const other = join(world.directory, 'other-config');
    const ends = world.start(mintProgram, ['agent', '--config-dir', other], { env: clock });
    assert.equal((await ends.done).status, 0);
    assert.equal(world.agents().length, 1);
    assert.equal(world.agents()[0]?.pid, stays.pid);
    // By its clock, every client takes minutes.
    stays.kill('SIGTERM');
    assert.equal((await stays.done).status, 0);
  });

  test('the agent of the unit waits until another agent ends', async () => {
    await mint('install');
    await world.ssh('dev', 'true');
    const [running] = world.agents();
    const agent = startUnit();
    await agent.until(/another agent is running/, 60_000);
    assert.equal((await world.ssh('dev', 'true')).status, 0);
    process.kill(running?.pid ?? 0, 'SIGTERM');
    await agent.until(/the agent listens/, 60_000);
    assert.equal((await world.ssh('dev', 'echo in')).stdout, 'in\n');
    assert.equal(world.agents()[0]?.pid, agent.pid);
  });

  test('an agent whose socket was removed fails, so that systemd restarts it', async () => {
    await mint('install');
    const agent = startUnit();
    await agent.until(/the agent listens/, 60_000);
    rmSync(join(world.configDir, 'run/control.sock'));
    const { status, stderr } = await agent.done;
    assert.equal(status, 1);
    assert.match(stderr, /its socket was removed \(agent-unavailable\)/);
  });
});
