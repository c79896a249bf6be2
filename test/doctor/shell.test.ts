/** doctor where SHELL names a program that runs no commands: ssh starts a ProxyCommand with it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { makeWorld } from '../openssh/world.ts';

test('doctor names SHELL as the reason why ssh cannot run the proxy', {
  timeout: 120_000,
}, async (context) => {
  const world = await makeWorld();
  context.after(() => world.end());
  for (const shell of ['/bin/false', '/nonexistent']) {
    const env = { SHELL: shell };
    const { status, stdout, stderr } = await world.run(world.program, ['doctor', 'dev'], {
      env,
      timeout: 60_000,
    });
    assert.notEqual(status, 0);
    assert.match(`${stdout}${stderr}`, new RegExp(`hint: SHELL is "${shell}"`));
  }
  const { stdout, stderr } = await world.mint('doctor', 'dev');
  assert.doesNotMatch(`${stdout}${stderr}`, /SHELL/);
});
