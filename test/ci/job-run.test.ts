/** `job run`: waiting for the VM, the end of the command, and output that cannot be written. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { freePort, mintProgram, waitFor } from '../openssh/world.ts';
import { type DebugWorld, makeDebugWorld } from './debug-world.ts';
import type { JobVm } from './job-vm.ts';

describe('job run', { timeout: 300_000 }, () => {
  let debug: DebugWorld;
  let vm: JobVm;
  before(async () => {
    debug = await makeDebugWorld();
    vm = await debug.begin('job');
  });
  after(() => debug.end());

  const isRunning = (pid: number) => existsSync(`/proc/${pid}`);
  const setPort = async (name: string, port: number) => {
    const { status, stderr } = await debug.world.mint(
      'job',
      'set',
      name,
      '--host',
      '127.0.0.1',
      '--port',
      String(port),
    );
    assert.equal(status, 0, stderr);
  };

  test('--wait waits until the VM answers, then runs the command once', async () => {
    const port = await freePort();
    await setPort('job', port);
    const run = debug.start(
      'job',
      'run',
      'job',
      '--wait',
      '2m',
      '--',
      'echo once >>"$HOME/runs"; echo out; exit 5',
    );
    await run.until(/waiting for job to answer: /, 60_000);
    const server: Server = createServer((socket) => {
      const onward = connect(vm.port, '127.0.0.1');
      socket.on('error', () => onward.destroy()).pipe(onward);
      onward.on('error', () => socket.destroy()).pipe(socket);
    });
    await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
    try {
      const { status, stdout, stderr } = await run.done;
      assert.deepEqual([status, stdout], [5, 'out\n'], stderr);
      assert.equal(readFileSync(join(vm.home, 'runs'), 'utf8'), 'once\n');
    } finally {
      server.close();
      await setPort('job', vm.port);
    }
  });

  test('--wait fails when the VM never answers: the command does not run, and the status is not 0', async () => {
    await setPort('job', await freePort());
    const words = [
      '--wait',
      '4s',
      '--debug-on-failure',
      '--project',
      'web',
      '--print-key',
      '--destroy',
      debug.destroy,
    ];
    const { status, stdout, stderr } = await debug.world.mint(
      'job',
      'run',
      'job',
      ...words,
      '--',
      'touch "$HOME/never"',
    );
    await setPort('job', vm.port);
    assert.deepEqual([status, stdout], [1, '']);
    assert.match(stderr, /error: job did not answer within 4 s: .* \(dial-failed\)/);
    assert.ok(!existsSync(join(vm.home, 'never')));
    assert.deepEqual(debug.destroyed(), []);
  });

  test('--wait does not wait after a changed host key', async () => {
    const genuine = await debug.begin('genuine', '--host-key');
    await debug.begin('impostor', '--host-key');
    await setPort('impostor', genuine.port);
    const begun = performance.now();
    const { status, stderr } = await debug.world.run(
      mintProgram,
      ['job', 'run', 'impostor', '--wait', '30m', '--', 'true'],
      { timeout: 120_000 },
    );
    assert.notEqual(status, 0);
    assert.match(stderr, /\(host-key-(?:changed|unverified)\)/);
    assert.ok(performance.now() - begun < 100_000);
  });

  for (const [signal, expected] of [
    ['SIGTERM', 143],
    ['SIGINT', 130],
    ['SIGHUP', 129],
  ] as const) {
    test(`${signal} ends the command on the VM, and what it has started`, async () => {
      const file = join(vm.home, signal);
      const run = debug.start('job', 'run', 'job', '--', `sleep 600 & echo $! >'${file}'; echo ready; wait`);
      await run.until(/^ready$/m, 60_000);
      const child = Number(readFileSync(file, 'utf8'));
      assert.ok(isRunning(child));
      process.kill(run.pid, signal);
      const { status, stderr } = await run.done;
      assert.equal(status, expected, stderr);
      await waitFor('the command to end', 15_000, () => !isRunning(child));
    });
  }

  test('a command that ignores SIGTERM is killed', async () => {
    const file = join(vm.home, 'stubborn');
    const run = debug.start(
      'job',
      'run',
      'job',
      '--',
      `trap '' TERM HUP; echo $$ >'${file}'; echo ready; while :; do sleep 1; done`,
    );
    await run.until(/^ready$/m, 60_000);
    const pid = Number(readFileSync(file, 'utf8'));
    process.kill(run.pid, 'SIGTERM');
    assert.equal((await run.done).status, 143);
    await waitFor('the command to end', 15_000, () => !isRunning(pid));
  });

  test('a signal ends nothing else on the VM, and opens no debug access', async () => {
    const bystander = debug.start('job', 'run', 'job', '--', 'echo here; sleep 20; echo through');
    await bystander.until(/^here$/m, 60_000);
    const words = ['--debug-on-failure', '--project', 'web', '--print-key', '--destroy', debug.destroy];
    const run = debug.start('job', 'run', 'job', ...words, '--', 'echo ready; sleep 600');
    await run.until(/^ready$/m, 60_000);
    process.kill(run.pid, 'SIGINT');
    const { status, stderr } = await run.done;
    assert.equal(status, 130);
    assert.doesNotMatch(stderr, /To log in/);
    assert.deepEqual([(await bystander.done).stdout, debug.destroyed()], ['here\nthrough\n', []]);
  });

  test('warns about a visitor without a key, and runs the command', async () => {
    const words = ['--debug-on-failure', '--project', 'web', '--destroy', debug.destroy];
    for (const authorize of ['/dev/null', '/nowhere/actor.keys']) {
      const { status, stdout, stderr } = await debug.world.mint(
        'job',
        'run',
        'job',
        ...words,
        '--authorize',
        authorize,
        '--',
        'echo tested; exit 3',
      );
      assert.deepEqual([status, stdout], [3, 'tested\n'], stderr);
      assert.match(stderr, /warning: there will be no debug access: .* \((?:key-invalid|io-failed)\)/);
      assert.ok(!vm.isArmed());
    }
  });

  test('output of the VM while it is opened is harmless in the build log', async () => {
    const loud = await debug.begin('loud');
    loud.setNoise('::error::x\n##[add-path]/tmp\n\u001b[2J\u001b]0;title\u0007\r::stop-commands::y\n');
    const holder = debug.open('loud', 'loud', '--print-key');
    await debug.block(holder);
    process.kill(holder.pid, 'SIGTERM');
    const { status, stderr } = await holder.done;
    assert.equal(status, 0, stderr);
    assert.match(stderr, /^: :error::x$/m);
    assert.doesNotMatch(stderr, /^\s*::|##\[/m);
    assert.doesNotMatch(stderr.replaceAll('\n', ''), /\p{Cc}/u);
  });

  test('begin: user data that cannot be written ends the job again', async () => {
    for (const [redirect, why] of [
      ['>/dev/full', /cannot write to stdout: .*ENOSPC.* \(io-failed\)/],
      ['>&-', /cannot write to stdout: it is closed, or \/dev\/null \(io-failed\)/],
    ] as const) {
      const { status, stderr } = await debug.world.run('sh', [
        '-c',
        `'${mintProgram}' job begin lost ${redirect}`,
      ]);
      assert.equal(status, 1, stderr);
      assert.match(stderr, why);
      const { stdout } = await debug.world.mint('job', 'list', '--json');
      assert.ok(!stdout.includes('"lost"'), 'its name is taken');
    }
  });
});
