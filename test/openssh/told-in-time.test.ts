/** What a user sees during a login that takes long, and after one that the VM refuses. */
import assert from 'node:assert/strict';
import net from 'node:net';
import { after, before, describe, test } from 'node:test';
import { makeWorld, type World } from './world.ts';

const erase = '\r\u001b[2K';

describe('a login at a terminal', { timeout: 120_000 }, () => {
  let world: World;
  let silent: net.Server;
  before(async () => {
    silent = net.createServer((client) => client.on('error', () => {}));
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    const { port } = silent.address() as net.AddressInfo;
    world = await makeWorld({ vms: { dev: {}, silent: { port } } });
  });
  after(async () => {
    silent.close();
    await world.end();
  });

  // ssh sends the proxy SIGHUP and exits without waiting: on a busy machine the shell may still be faster.
  test('the message about a refused user names the usual users, and usually precedes the prompt', async (context) => {
    const line = `ssh -F ${world.sshConfigFile} -l nosuchuser dev true; echo PROMPT`;
    let runs = 0;
    let early = 0;
    while (early < 3 && runs < 12) {
      runs += 1;
      const { stdout } = await world.run('script', ['-qec', line, '/dev/null'], { env: { TERM: 'xterm' } });
      // The terminal is gone before the proxy writes where the shell ends first.
      if (!stdout.includes('login-refused')) continue;
      assert.match(stdout, /refused the keys that ssh offered for user nosuchuser \(login-refused\)/);
      assert.equal(stdout.split('(login-refused)').length, 2, `told once: ${stdout}`);
      assert.match(stdout, /usual ones: ec2-user \(.*ubuntu \(Ubuntu\), admin \(Debian\)/);
      if (stdout.indexOf('login-refused') < stdout.indexOf('PROMPT')) early += 1;
    }
    context.diagnostic(`before the prompt in ${early} of ${runs} runs`);
    assert.equal(early, 3, `before the prompt in ${early} of ${runs} runs`);
  });

  test('shows one line of progress after a second, and erases it at the end', async () => {
    const line = `ssh -F ${world.sshConfigFile} silent true`;
    const child = world.start('script', ['-qec', line, '/dev/null'], {
      env: { TERM: 'xterm' },
      timeout: 60_000,
    });
    await child.until(/mint-ssh: connecting to silent at 127\.0\.0\.1 port \d+ …/);
    const { stdout } = await child.done;
    const last = stdout.lastIndexOf('…');
    assert.ok(stdout.slice(last).includes(`${erase}mint-ssh: error: `), stdout.slice(last));
  });

  test('shows no progress on a pipe, or with TERM=dumb', async () => {
    const words = ['-F', world.sshConfigFile, 'silent', 'true'];
    const piped = await world.start('ssh', words, { timeout: 60_000, env: { TERM: 'xterm' } }).done;
    assert.ok(!piped.stderr.includes('…') && !piped.stderr.includes('\u001b'), piped.stderr);
    const line = `ssh ${words.join(' ')}`;
    const dumb = world.start('script', ['-qec', line, '/dev/null'], {
      env: { TERM: 'dumb' },
      timeout: 60_000,
    });
    assert.doesNotMatch((await dumb.done).stdout, /connecting to/);
  });
});
