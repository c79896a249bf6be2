import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import ssh2, { type Server } from 'ssh2';
import { makeHostKey } from '../../src/demo/hosts.ts';
import { freePort, loginUser, makeWorld, type World } from '../openssh/world.ts';

describe('a VM that requires a second factor', { timeout: 300_000 }, () => {
  let world: World;
  let server: Server;
  let environment: Record<string, string>;
  before(async () => {
    const port = await freePort();
    world = await makeWorld({
      vms: {
        both: { port, settings: ['preferred_authentications = "publickey,keyboard-interactive"'] },
        one: { port },
      },
    });
    const hostKeys = [makeHostKey().private];
    server = new ssh2.Server({ hostKeys }, (connection) => {
      let hasKey = false;
      connection.on('error', () => connection.end());
      connection.on('authentication', (context) => {
        if (context.method === 'publickey') {
          // The first request only asks whether the key would do.
          if (context.signature === undefined) return context.accept();
          hasKey = true;
          return context.reject(['keyboard-interactive'], true);
        }
        if (context.method !== 'keyboard-interactive' || !hasKey) return context.reject(['publickey']);
        context.prompt([{ prompt: 'Code: ', echo: true }], ([code]) => {
          if (code === '123456') context.accept();
          else context.reject();
        });
      });
      connection.on('session', (accept) => {
        accept().on('exec', (acceptExec) => {
          const channel = acceptExec();
          channel.write('in\n');
          channel.exit(0);
          channel.end();
        });
      });
    });
    await once(server.listen(port, '127.0.0.1'), 'listening');
    const askpass = join(world.directory, 'askpass');
    writeFileSync(askpass, `#!/bin/sh\necho "$1" >> ${join(world.directory, 'asked')}\necho 123456\n`, {
      mode: 0o700,
    });
    environment = { SSH_ASKPASS: askpass, SSH_ASKPASS_REQUIRE: 'force', DISPLAY: ':0' };
  });
  after(async () => {
    server.close();
    await world.end();
  });

  test('gets our key, then ssh prompts for the other factor', async () => {
    const { stdout, stderr, status } = await world.startSsh(['both', 'true'], { env: environment }).done;
    assert.deepEqual([status, stdout], [0, 'in\n'], stderr);
    const shown = await world.mint('hosts', 'show', 'both', '--json');
    assert.equal(JSON.parse(shown.stdout).evidence, 'first-use');
    assert.ok(existsSync(join(world.directory, 'asked')));
  });

  test('refuses the login without the setting', async () => {
    const { status, stderr } = await world.startSsh(['one', 'true'], { env: environment }).done;
    assert.equal(status, 255);
    assert.match(stderr, new RegExp(`${loginUser}@one: Permission denied \\(keyboard-interactive\\)`));
  });
});
