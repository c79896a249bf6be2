/** `mint-ssh mosh` with the real mosh-server and mosh-client, on a pseudo-terminal. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { programFile } from '../programs.ts';
import { acceptedAtPrompt } from './audit-lines.ts';
import { makePrivateVm } from './private-vm.ts';
import { processesOf } from './processes.ts';
import { makeWorld, mintProgram, type World, waitFor } from './world.ts';

describe('mint-ssh mosh', { timeout: 300_000 }, () => {
  let world: World;
  let bare: string;
  const terminal = { TERM: 'xterm-256color', LANG: 'C.UTF-8' };
  before(async () => {
    // A PATH with a shell in it and nothing else.
    bare = mkdtempSync(join(tmpdir(), 'mint-bare-'));
    mkdirSync(join(bare, 'bin'));
    for (const name of ['sh', 'ssh']) symlinkSync(programFile(name), join(bare, 'bin', name));
    const sshdLines = [`SetEnv PATH=${join(bare, 'bin')} MINT_SSHD=bare SHLVL=1`];
    world = await makeWorld({ vms: { dev: {}, bare: { sshdLines } }, withoutSshConfig: true });
  });
  after(async () => {
    await world.end();
    rmSync(bare, { recursive: true });
  });

  /** On a terminal, as mosh-client needs one. */
  const start = (words: string, env: Record<string, string | undefined> = terminal) =>
    world.start('script', ['-qefc', `stty rows 24 cols 80; '${mintProgram}' mosh ${words}`, '/dev/null'], {
      holdInput: true,
      env,
    });

  test('starts a server on the VM, connects to it, and returns the client’s status', async () => {
    const child = start(`dev -- sh -c 'echo "in $MINT_SSHD"; read word; echo "got $word"; read more'`);
    await child.until(/in \S*vm-dev/);
    const clients = processesOf(world.directory).filter(({ command }) => command.startsWith('mosh-client'));
    assert.equal(clients.length, 1);
    // An address and a port: the key is not an argument of any process.
    assert.match(clients[0]?.command ?? '', /^mosh-client 127\.0\.0\.1 \d+$/);
    child.stdin.write('hello\r');
    await child.until(/got hello/);
    child.stdin.write('\r');
    const { status, stdout } = await child.done;
    assert.equal(status, 0, stdout);
    const served = () =>
      processesOf(world.directory).some(({ command }) => command.startsWith('mosh-server'));
    await waitFor('mosh-server to end', 15_000, () => !served());
    assert.equal(world.cloud.pushes.length, 1);
    // What the login left is a pin like any other.
    assert.match((await world.mint('hosts', 'list')).stdout, /^dev /m);
    const login = readFileSync(join(world.configDir, 'audit.log'), 'utf8');
    assert.match(login, /"vm_name":"dev".*"event":"login"/);
  });

  test('asks about a changed host key on its terminal; the answer is in audit.log', async () => {
    const sshd = world.sshd('dev');
    assert.equal((await world.mint('ssh', 'dev', '--', 'true')).status, 0);
    await sshd.replaceHostKey();
    const child = start(`dev -- sh -c 'echo "in again"; read word'`);
    await child.until(/yes\/no\/\[fingerprint\]/);
    child.stdin.write('yes\r');
    await child.until(/in again/);
    child.stdin.write('\r');
    const { status, stdout } = await child.done;
    assert.equal(status, 0, stdout);
    assert.deepEqual(acceptedAtPrompt(world, 'dev'), [sshd.hostKey.fingerprint]);
  });

  test('names the missing package without a mosh-client, and starts nothing', async () => {
    const pushes = world.cloud.pushes.length;
    const { status, stderr } = await world.run(mintProgram, ['mosh', 'dev'], {
      env: { PATH: join(bare, 'bin') },
    });
    assert.equal(status, 1);
    assert.match(stderr, /mosh-client is not installed \(io-failed\)\n.*apt-get install mosh/);
    assert.equal(world.cloud.pushes.length, pushes);
  });

  test('names the missing package without a mosh-server on the VM', async () => {
    const { status, stderr } = await world.run(mintProgram, ['mosh', 'bare'], { env: terminal });
    assert.equal(status, 1, stderr);
    assert.match(
      stderr,
      /mosh-server is not installed on bare \(io-failed\)\n.*mint-ssh ssh bare -- -t sudo apt-get/,
    );
  });

  test('quotes a server that does not start, and names the locale it lacks', async () => {
    const { status, stderr } = await world.run(mintProgram, ['mosh', 'dev'], { env: { LANG: 'C' } });
    assert.equal(status, 1, stderr);
    assert.match(stderr, /mosh-server on dev did not start: ".*" \(io-failed\)\n.*LANG=C\.UTF-8/);
  });

  test('a failed login keeps its own message and status', async () => {
    const { instance } = world.vm('dev');
    const known = world.cloud.instances.get(instance);
    world.cloud.instances.delete(instance);
    await world.mint('agent', 'stop');
    const { status, stderr } = await world.run(mintProgram, ['mosh', 'dev'], { env: terminal });
    if (known !== undefined) world.cloud.instances.set(instance, known);
    assert.equal(status, 255);
    assert.match(stderr, /\(vm-not-found\)/);
    assert.doesNotMatch(stderr, /mosh-server/);
  });

  test('arguments without --, and a missing name, are usage errors', async () => {
    assert.match((await world.mint('mosh')).stderr, /missing argument: VM \(usage\)/);
    assert.match((await world.mint('mosh', 'dev', 'ls')).stderr, /put the command after -- \(usage\)/);
    assert.equal((await world.mint('mosh', '../dev')).status, 2);
  });
});

test('a VM behind an Instance Connect Endpoint has no address for mosh', {
  timeout: 300_000,
}, async (context) => {
  const vm = await makePrivateVm();
  context.after(() => vm.end());
  const { status, stderr } = await vm.machines.world.run(mintProgram, ['mosh', 'dev'], {
    env: { TERM: 'xterm', LANG: 'C.UTF-8' },
  });
  assert.equal(status, 255, stderr);
  assert.match(
    stderr,
    /dev has no address that mosh's UDP packets can reach \(dial-failed\)\n.*carries TCP only/,
  );
  assert.equal(vm.machine.sshd.accepted(), 0);
});
