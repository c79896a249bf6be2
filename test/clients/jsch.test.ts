import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { keyPath } from '../agent/clients.ts';
import { loginUser, makeWorld, mintProgram, type World } from '../openssh/world.ts';
import { assertBound } from './bound.ts';

/** Where `mvn` puts it; test/prepare.ts has it do so where there is a JDK. */
const library = join(homedir(), '.m2/repository/com/github/mwiede/jsch/0.2.23/jsch-0.2.23.jar');
const sum = 'c45ff978dd4c1d4890e2524f0cb382cbad9477a87dab0e9c5a9e019d9353ea48';

describe('JSch, the library of Java programs', { timeout: 300_000 }, () => {
  let world: World;
  before(async () => {
    world = await makeWorld();
  });
  after(() => world.end());

  test('a proxy that runs the command, the VM’s socket as its agent', async (context) => {
    const java = await world.run('sh', ['-c', 'command -v javac']);
    if (java.status !== 0 || !existsSync(library)) {
      context.skip('not shown here: there is no JDK, or no Maven that could fetch the library');
      return;
    }
    assert.equal(createHash('sha256').update(readFileSync(library)).digest('hex'), sum);
    const program = join(import.meta.dirname, 'programs/JschLogin.java');
    const classes = join(world.directory, 'classes');
    const compiled = await world.run('javac', ['-cp', library, '-d', classes, program], { timeout: 60_000 });
    assert.equal(compiled.status, 0, compiled.stderr);
    const knownHosts = join(world.configDir, 'hosts/dev.known_hosts');
    const words = ['-cp', `${library}:${classes}`, 'JschLogin', 'dev', loginUser, knownHosts];
    // Twice: with the host unknown, then strictly with it pinned.
    for (const word of ['first', 'second']) {
      const { status, stdout, stderr } = await world.run(
        'java',
        [...words, `${mintProgram} proxy dev`, `echo ${word}`],
        { env: { SSH_AUTH_SOCK: keyPath(world, 'dev') }, timeout: 60_000 },
      );
      assert.deepEqual([status, stdout], [0, `${word}\n`], stderr);
    }
    await assertBound(world, 'dev');
  });
});
