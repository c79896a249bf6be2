import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { makeWorld, type World } from './world.ts';

const askpass = fileURLToPath(new URL('../cli/programs/askpass.sh', import.meta.url));

describe('a question that nobody answers ends after 40 seconds, with the connection blocked', {
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
    const options = { holdInput: true, env: { TERM: 'dumb' }, timeout: 60_000 };
    const ssh = world.start('script', ['-qefc', words, '/dev/null'], options);
    await ssh.until(/\(yes\/no\/\[fingerprint\]\)\? /);
    const asked = Date.now();
    const { status, stdout } = await ssh.done;
    const waited = Date.now() - asked;
    assert.equal(status, 255);
    assert.match(stdout, /there was no answer \(host-key-changed\)/);
    assert.ok(waited > 38_000 && waited < 240_000, `${waited} ms`);
    assert.equal(world.file('known_hosts'), pinned);
  });

  test('in an editor’s dialog', async () => {
    const log = join(world.directory, 'askpass.log');
    writeFileSync(log, '');
    const env = { SSH_ASKPASS: askpass, DISPLAY: ':0', ASKPASS: 'hang', ASKPASS_LOG: log };
    const ssh = world.startSsh(['-T', 'build', 'true'], { env, timeout: 60_000 });
    const { status, stderr, milliseconds } = await ssh.done;
    assert.equal(status, 255);
    assert.match(stderr, /there was no answer \(host-key-changed\)/);
    assert.ok(milliseconds > 38_000 && milliseconds < 240_000, `${milliseconds} ms`);
    assert.match(readFileSync(log, 'utf8'), /HAS CHANGED/);
    assert.equal(world.file('known_hosts'), pinned);
  });
});
