import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { type Child, startChild } from '../openssh/child.ts';
import { processesOf } from '../openssh/processes.ts';
import { mintProgram } from '../openssh/world.ts';
import { testPath } from '../programs.ts';

const directory = mkdtempSync(join(tmpdir(), 'mint-demo-test-'));
after(() => rmSync(directory, { recursive: true }));

/** Runs the demo with a temporary home directory, to see what it changes there. */
function startDemo(
  name: string,
  variables: Readonly<Record<string, string>> = {},
): { demo: Child; home: string } {
  const home = join(directory, name);
  mkdirSync(home);
  const environment = { PATH: testPath, HOME: home, ...variables };
  return { demo: startChild(mintProgram, ['demo'], environment, { timeout: 60_000 }), home };
}

/** The directory that the demo printed. */
function stageOf(output: string): string {
  return /All\sfiles\sare\sin\s(\/\S*mint-demo-\w+),/.exec(output)?.[1] ?? assert.fail(output);
}

function assertNothingLeft(stage: string): void {
  assert.throws(() => readdirSync(stage), { code: 'ENOENT' });
  assert.deepEqual(processesOf(stage), []);
}

describe('the demo', { concurrency: 2, timeout: 300_000 }, () => {
  test('logs in twice, blocks a changed key, accepts the new one, and leaves nothing', async () => {
    // Settings that would lead to the caller's accounts, agents or configuration.
    const { demo, home } = startDemo('whole', {
      AWS_PROFILE: 'someones',
      AWS_ENDPOINT_URL_EC2_INSTANCE_CONNECT: 'http://127.0.0.1:9',
      MINT_CONFIG_DIR: join(directory, 'whole', 'mint'),
      SSH_AUTH_SOCK: '/nonexistent',
      HTTP_PROXY: 'http://127.0.0.1:9',
    });
    const { status, stdout, stderr } = await demo.done;
    assert.equal(status, 0, stderr + stdout);
    assert.deepEqual(stdout.match(/^\d\. .*/gm)?.length, 4);
    assert.doesNotMatch(stdout, /timing: /);
    assert.match(stdout, /Next, with your own VMs: mint-ssh setup\n$/);
    assert.match(stdout, /HAS CHANGED[\s\S]*host-key-changed[\s\S]*hosts accept dev SHA256:/);
    assert.deepEqual(readdirSync(home), []);
    assertNothingLeft(stageOf(stdout));
  });

  test('with --shell runs a shell with its VMs until exit, and leaves nothing', async () => {
    const home = join(directory, 'shell');
    mkdirSync(home);
    const demo = startChild(
      mintProgram,
      ['demo', '--shell'],
      { PATH: testPath, HOME: home },
      { holdInput: true, timeout: 60_000 },
    );
    await demo.until(/a shell inside the demo/, 60_000);
    demo.stdin.write('ssh dev hostname && echo STATUS $?\nexit\n');
    demo.stdin.end();
    const { stdout, stderr } = await demo.done;
    assert.match(stdout, /^STATUS 0$/m, stderr);
    assertNothingLeft(stageOf(stdout));
  });

  test('cleans up when it is interrupted', async () => {
    const { demo } = startDemo('interrupted');
    await demo.until(/1\. First login/);
    process.kill(demo.pid, 'SIGTERM');
    const { signal, stdout } = await demo.done;
    assert.equal(signal, 'SIGTERM');
    assertNothingLeft(stageOf(stdout));
  });

  test('fails with a message if ssh is missing', async () => {
    const { demo } = startDemo('no-ssh', { PATH: join(directory, 'nothing') });
    const { status, stderr } = await demo.done;
    assert.equal(status, 1);
    assert.match(stderr, /error: there is no ssh on this machine/);
    assert.doesNotMatch(stderr, /^ +at /m);
  });

  test('fails if a step has an unexpected result', async () => {
    const tools = join(directory, 'tools');
    mkdirSync(tools);
    symlinkSync('/bin/true', join(tools, 'ssh'));
    const { demo } = startDemo('wrong', { PATH: tools });
    const { status, stdout, stderr } = await demo.done;
    assert.equal(status, 1);
    assert.match(stderr, /demo check failed: expected that /);
    assertNothingLeft(stageOf(stdout));
  });
});
