import assert from 'node:assert/strict';
import { existsSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { processesOf } from '../openssh/processes.ts';
import { type Child, loginUser, makeWorld, mintProgram, type World, waitFor } from '../openssh/world.ts';

/** So long that only ssh's own hash of it fits a socket's path. */
const long = `long-${'x'.repeat(58)}`;

describe('multiplex', { timeout: 300_000 }, () => {
  let world: World;
  before(async () => {
    world = await makeWorld({
      settings: ['multiplex = "5m"'],
      vms: {
        dev: { relay: true },
        apart: { relay: true, settings: ['multiplex = "none"'] },
        brief: { settings: ['multiplex = "1s"'] },
        changed: {},
        killed: {},
        zed: {},
        [long]: {},
      },
    });
  });
  after(async () => {
    for (const vm of ['dev', 'brief', 'changed', 'killed', 'zed', long]) await world.ssh('-O', 'exit', vm);
    await world.end();
  });

  const sockets = () => readdirSync(join(world.configDir, 'run/mux'));
  const socketOf = (vm: string) => `${vm}:${world.vm(vm).port}:${loginUser}`;
  const proxiesOf = (vm: string) =>
    processesOf(world.directory).filter(({ command }) =>
      new RegExp(`^\\S*mint-ssh (?:.* )?proxy .*\\b${vm} `).test(command),
    );
  const logsIn = async (vm: string, word: string) => {
    const { status, stdout, stderr } = await world.ssh(vm, `echo ${word}`);
    assert.deepEqual([status, stdout, stderr], [0, `${word}\n`, '']);
  };
  /** As for a user: on a terminal, where ssh gives the proxy no stderr. */
  const onTerminal = (vm: string, command: string): Child =>
    world.start('script', ['-qec', `ssh -F ${world.sshConfigFile} ${vm} ${command}`, '/dev/null'], {
      holdInput: true,
    });
  const masterOf = async (vm: string) => {
    const { stderr } = await world.ssh('-O', 'check', vm);
    return Number(/pid=(\d+)/.exec(stderr)?.[1]);
  };
  const kill = async (pid: number) => {
    process.kill(pid, 'SIGKILL');
    await waitFor('the master’s end', 60_000, () => !existsSync(`/proc/${pid}/exe`));
  };

  test('a second login opens no second TCP connection, for every name and command', async () => {
    const { relay } = world.vm('dev');
    for (const word of ['one', 'two']) await logsIn('dev', word);
    await logsIn('mint-dev', 'three');
    const own = await world.run(mintProgram, ['ssh', 'dev', '--', 'echo four']);
    assert.deepEqual([own.status, own.stdout], [0, 'four\n'], own.stderr);
    assert.equal(relay?.accepted, 1);
    assert.equal(world.sshd('dev').accepted(), 1);
    assert.deepEqual(sockets(), [socketOf('dev')]);
    assert.equal(statSync(join(world.configDir, 'run/mux')).mode & 0o777, 0o700);
    await world.ssh('-O', 'exit', 'dev');
    await waitFor('the proxy to end', 60_000, () => proxiesOf('dev').length === 0);
    assert.deepEqual(sockets(), []);
  });

  test('mint-ssh ssh leaves a connection that plain ssh goes by', async () => {
    const before = world.vm('dev').relay?.accepted ?? 0;
    const own = await world.run(mintProgram, ['ssh', 'dev', '--', 'echo in']);
    assert.equal(own.stdout, 'in\n', own.stderr);
    await logsIn('dev', 'again');
    assert.equal(world.vm('dev').relay?.accepted, before + 1);
  });

  test('mint-ssh commands use a separate connection', async () => {
    await logsIn('dev', 'in');
    const before = world.vm('dev').relay?.accepted ?? 0;
    assert.equal((await world.mint('key', 'list', 'dev')).status, 0);
    assert.equal(world.vm('dev').relay?.accepted, before + 1);
  });

  test('another user of the same VM gets no share of it', async () => {
    await logsIn('dev', 'in');
    const before = world.vm('dev').relay?.accepted ?? 0;
    // A shell they have none of, and where the tests are not root's, no login either.
    const { stdout } = await world.ssh('-o', 'BatchMode=yes', 'nobody@dev', 'echo in');
    assert.doesNotMatch(stdout, /^in$/m);
    assert.equal(world.vm('dev').relay?.accepted, before + 1);
    await world.ssh('-O', 'exit', 'nobody@dev');
  });

  test('the connection ends the set time after its last session', async () => {
    await logsIn('brief', 'in');
    await waitFor('the proxy to end', 60_000, () => proxiesOf('brief').length === 0);
    await waitFor('the socket to go', 60_000, () => !sockets().includes(socketOf('brief')));
  });

  test('"none" for one VM leaves it out', async () => {
    for (const word of ['one', 'two']) await logsIn('apart', word);
    assert.equal(world.vm('apart').relay?.accepted, 2);
  });

  test('a VM with the longest of names has a socket too', async () => {
    for (const word of ['one', 'two']) await logsIn(long, word);
    assert.equal(world.sshd(long).accepted(), 1);
  });

  test('keep-alives end a dead connection, but not one that waits for a prompt', async () => {
    const { stdout } = await world.ssh('-G', 'dev');
    const number = (keyword: string) => Number(new RegExp(`^${keyword} (\\d+)$`, 'm').exec(stdout)?.[1]);
    const seconds = number('serveraliveinterval') * number('serveralivecountmax');
    assert.ok(seconds > 50 && seconds < 120, `${seconds} s`);
  });

  test('a socket that a killed connection left does not prevent a login', async () => {
    await logsIn('killed', 'one');
    await kill(await masterOf('killed'));
    assert.ok(sockets().includes(socketOf('killed')));
    await logsIn('killed', 'two');
    await logsIn('killed', 'three');
    assert.equal(world.sshd('killed').accepted(), 2);
  });

  test('a changed host key causes a prompt on the terminal, and no login before the answer', async () => {
    await logsIn('changed', 'in');
    await kill(await masterOf('changed'));
    await world.sshd('changed').replaceHostKey();
    const before = world.sshd('changed').accepted();
    // Without a terminal the message cannot be shown.
    assert.equal((await world.ssh('changed', 'true')).status, 255);
    const shown = await world.mint('hosts', 'show', 'changed');
    assert.ok(shown.stdout.includes(world.sshd('changed').hostKey.fingerprint), shown.stdout);
    for (const [typed, expected] of [
      ['no', 255],
      ['yes', 0],
    ] as const) {
      const session = onTerminal('changed', 'true');
      await session.until(/\(yes\/no\/\[fingerprint\]\)\? /, 60_000);
      assert.equal(world.sshd('changed').accepted(), before);
      session.stdin.write(`${typed}\n`);
      const { status, stdout } = await session.done;
      assert.equal(status, expected, stdout);
      assert.ok(stdout.includes(world.sshd('changed').hostKey.fingerprint));
    }
    assert.equal(world.sshd('changed').accepted(), before + 1);
  });

  test('shows errors on the terminal, although ssh gives the proxy no stderr', async () => {
    const vm = world.vm('killed');
    const master = await masterOf('killed');
    if (master > 0) await kill(master);
    await world.sshd('killed').stop({ sessions: true });
    const { status, stdout } = await onTerminal('killed', 'true').done;
    assert.equal(status, 255);
    assert.match(stdout, new RegExp(`mint-ssh: error: .*${vm.port}.*\\(dial-failed\\)`, 's'));
    await world.sshd('killed').start();
  });

  test('an editor’s own ControlPath wins', async () => {
    const control = join(world.directory, 'zed');
    const own = ['-F', world.sshConfigFile, '-o', `ControlPath=${control}`];
    const master = world.start('ssh', [
      ...['-N', '-o', 'ControlPersist=no', '-o', 'ControlMaster=yes'],
      ...own,
      'zed',
    ]);
    await waitFor('the master', 60_000, () => existsSync(control));
    const { stdout } = await world.run('ssh', ['-o', 'ControlMaster=no', ...own, 'zed', 'echo in']);
    assert.equal(stdout, 'in\n');
    assert.ok(!sockets().includes(socketOf('zed')));
    await world.run('ssh', ['-O', 'exit', ...own, 'zed']);
    await master.done;
  });

  test('creates a run directory that is missing after a reboot before ssh needs it', async () => {
    for (const vm of ['dev', 'brief', 'changed', 'killed', long]) await world.ssh('-O', 'exit', vm);
    await world.mint('agent', 'stop');
    await waitFor('the agent to end', 60_000, () => world.agents().length === 0);
    rmSync(join(world.configDir, 'run'), { recursive: true });
    for (const word of ['one', 'two']) {
      const { status, stdout, stderr } = await world.ssh('dev', `echo ${word}`);
      assert.deepEqual([status, stdout], [0, `${word}\n`], stderr);
    }
    assert.deepEqual(sockets(), [socketOf('dev')]);
  });
});
