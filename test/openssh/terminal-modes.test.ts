/** The shell that started ssh has its terminal back before the proxy has ended. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { makeWorld, type World } from './world.ts';

describe('the terminal of the user', { timeout: 120_000 }, () => {
  let world: World;
  before(async () => {
    world = await makeWorld();
  });
  after(() => world.end());

  test('keeps the modes that the shell sets, also when the proxy ends after it', async () => {
    // A shell that edits lines turns off icanon and echo at its prompt.
    const script = `mkfifo up
      ssh -F "$CONFIG" -n dev 'echo up; exec sleep 1' >up &
      read -r line <up
      stty -icanon -echo
      wait
      while pgrep -f 'mint-ssh.* [p]roxy dev' >/dev/null; do sleep 0.1; done
      echo "MODES: $(stty -a | tr '\\n' ' ')"`;
    const env = { TERM: 'xterm', CONFIG: world.sshConfigFile };
    const { stdout } = await world.run('script', ['-qec', script, '/dev/null'], { env, holdInput: true });
    const [, modes = ''] = /MODES: (.*)/.exec(stdout) ?? assert.fail(stdout);
    assert.match(modes, / -icanon /);
    assert.match(modes, / -echo /);
  });
});
