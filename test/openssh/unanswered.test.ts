import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { MovableClock } from './faketime.ts';
import { type Child, makeWorld, type World, waitFor } from './world.ts';

const askpass = fileURLToPath(new URL('../cli/programs/askpass.sh', import.meta.url));

/**
 * Moves a question's clock to its 36th second, in which it still waits, and on to its 41st. The proxy, whose clock it is, would
 * give up an agent that has said nothing for 50 s: real time counts as well.
 */
async function passForty(clock: MovableClock, { done }: Child): Promise<void> {
  const startedAt = performance.now();
  clock.set(36);
  assert.equal(await Promise.race([done, sleep(300, 'waits')]), 'waits');
  clock.set(Math.max(36, 41 - Math.floor((performance.now() - startedAt) / 1000)));
}

describe('an unanswered prompt ends after 40 seconds, with the connection blocked', {
  concurrency: true,
  timeout: 100_000,
}, () => {
  let world: World;
  let pinned: string | undefined;
  before(async () => {
    world = await makeWorld({ vms: { dev: {}, build: {} } });
    for (const vm of ['dev', 'build']) {
      assert.equal((await world.ssh(vm, 'true')).status, 0);
      await world.sshd(vm).replaceHostKey();
    }
    pinned = world.file('known_hosts');
  });
  after(() => world.end());

  test('on the terminal', async () => {
    const words = `ssh -F '${world.sshConfigFile}' dev true`;
    const clock = new MovableClock(join(world.directory, 'terminal-clock'));
    const options = { holdInput: true, env: { ...clock.environment, TERM: 'dumb' }, timeout: 60_000 };
    const ssh = world.start('script', ['-qefc', words, '/dev/null'], options);
    await ssh.until(/\(yes\/no\/\[fingerprint\]\)\? /);
    await passForty(clock, ssh);
    const { status, stdout } = await ssh.done;
    assert.equal(status, 255);
    assert.match(stdout, /there was no answer \(host-key-changed\)/);
    assert.equal(world.file('known_hosts'), pinned);
  });

  test('in an editor’s dialog', async () => {
    const log = join(world.directory, 'askpass.log');
    writeFileSync(log, '');
    const clock = new MovableClock(join(world.directory, 'dialog-clock'));
    const dialog = { SSH_ASKPASS: askpass, DISPLAY: ':0', ASKPASS: 'hang', ASKPASS_LOG: log };
    const ssh = world.startSsh(['-T', 'build', 'true'], {
      env: { ...clock.environment, ...dialog },
      timeout: 60_000,
    });
    await waitFor('the dialog', 15_000, () => readFileSync(log, 'utf8') !== '');
    await passForty(clock, ssh);
    const { status, stderr } = await ssh.done;
    assert.equal(status, 255);
    assert.match(stderr, /there was no answer \(host-key-changed\)/);
    assert.match(readFileSync(log, 'utf8'), /HAS CHANGED/);
    assert.equal(world.file('known_hosts'), pinned);
  });
});
