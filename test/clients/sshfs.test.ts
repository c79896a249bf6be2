import assert from 'node:assert/strict';
import { accessSync, constants, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { makeWorld, type World } from '../openssh/world.ts';
import { assertBound } from './bound.ts';

describe('sshfs', { timeout: 300_000 }, () => {
  let world: World;
  before(async () => {
    world = await makeWorld();
  });
  after(() => world.end());

  test('a directory of the VM is mounted, read and written', async (context) => {
    if (!canMount()) {
      // A container without the device cannot mount.
      context.skip('not shown here: /dev/fuse cannot be opened');
      return;
    }
    const [far, near] = [join(world.directory, 'far'), join(world.directory, 'near')];
    mkdirSync(far);
    mkdirSync(near);
    writeFileSync(join(far, 'there'), 'from the VM');
    const mount = world.start('sshfs', ['-f', '-F', world.sshConfigFile, `dev:${far}`, near]);
    try {
      for (const start = performance.now(); ; await sleep(100)) {
        const { stdout } = await world.run('cat', ['/proc/mounts']);
        if (stdout.includes(near)) break;
        assert.ok(performance.now() - start < 60_000, `not mounted: ${mount.stderr}`);
      }
      // Another process looks: this one answers for the cloud, and must not wait for a file.
      const { stdout } = await world.run('cat', [join(near, 'there')]);
      assert.equal(stdout, 'from the VM');
      await world.run('sh', ['-c', `echo from here > ${join(near, 'here')}`]);
      assert.equal(readFileSync(join(far, 'here'), 'utf8'), 'from here\n');
    } finally {
      await world.run('fusermount3', ['-u', near]);
      await mount.done;
    }
    await assertBound(world, 'dev');
  });
});

function canMount(): boolean {
  try {
    accessSync('/dev/fuse', constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}
