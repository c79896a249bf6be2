import assert from 'node:assert/strict';
import { existsSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { freePort, makeWorld, type World, waitFor } from '../openssh/world.ts';
import { assertBound } from './bound.ts';

describe('editors that run ssh without a terminal', { timeout: 300_000 }, () => {
  let world: World;
  let asked: string;
  let environment: Record<string, string>;
  before(async () => {
    world = await makeWorld({ vms: { code: {}, zed: {} } });
    asked = join(world.directory, 'asked');
    const askpass = join(world.directory, 'askpass');
    writeFileSync(askpass, `#!/bin/sh\necho "$1" >> ${asked}\nexit 1\n`, { mode: 0o700 });
    environment = { SSH_ASKPASS: askpass, DISPLAY: ':0' };
  });
  after(() => world.end());

  test('VS Code Remote-SSH: a script on stdin, a SOCKS port, ConnectTimeout, nothing asked', async () => {
    const port = await freePort();
    const words = ['-v', '-T', '-D', String(port), '-o', 'ConnectTimeout=15', '-F', world.sshConfigFile];
    // setsid: without a terminal, also if the tests run in one.
    const session = world.start('setsid', ['-w', 'ssh', ...words, 'code', 'bash'], {
      env: environment,
      holdInput: true,
    });
    session.stdin.write('echo "a4f6: running"; uname -s\n');
    await session.until(/a4f6: running\nLinux\n/);
    await new Promise<void>((resolve, reject) => {
      connect(port, '127.0.0.1', resolve).once('error', reject).unref();
    });
    session.stdin.end('exit\n');
    const { status, stderr } = await session.done;
    assert.equal(status, 0);
    // The extension's log shows this to users.
    assert.match(stderr, /Authenticated to code \(via proxy\) using "publickey"/);
    assert.ok(!existsSync(asked));
    await assertBound(world, 'code');
  });

  test('Zed: a master of its own in the background, and commands through it', async () => {
    const control = join(world.directory, 'zed-control');
    const shared = ['-F', world.sshConfigFile, '-o', `ControlPath=${control}`];
    const env = { ...environment, SSH_ASKPASS_REQUIRE: 'force' };
    const master = world.start(
      'setsid',
      ['-w', 'ssh', '-N', '-o', 'ControlPersist=no', '-o', 'ControlMaster=yes', ...shared, 'zed'],
      { env },
    );
    await waitFor('the master', 15_000, () => existsSync(control));
    for (const word of ['one', 'two']) {
      const { stdout } = await world.run(
        'ssh',
        ['-o', 'ControlMaster=no', ...shared, 'zed', `echo ${word}`],
        {
          env,
        },
      );
      assert.equal(stdout, `${word}\n`);
    }
    assert.equal(world.sshd('zed').accepted(), 1);
    await world.run('ssh', ['-O', 'exit', ...shared, 'zed']);
    await master.done;
    assert.ok(!existsSync(asked));
    await assertBound(world, 'zed');
  });
});
