/** `mint-ssh doctor`: how the user's ssh config affects our blocks. */
import assert from 'node:assert/strict';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { makeWorld, mintProgram, type World } from '../openssh/world.ts';
import { doctor, general } from './told.ts';

describe('the ssh config of the user', { timeout: 300_000 }, () => {
  let world: World;
  before(async () => {
    world = await makeWorld({ vms: { dev: {}, build: {} } });
  });
  after(() => world.end());

  test('the Include: removed, never written, below other lines; a VM without a block', async () => {
    const file = world.sshConfigFile;
    const text = readFileSync(file, 'utf8');
    writeFileSync(file, 'Host *\n');
    const lost = await general(world);
    assert.match(lost.of('include'), /^fail: .* does not include the blocks at its top/);
    assert.equal(lost.hint('include'), `mint-ssh ssh-config --file ${file}`);
    writeFileSync(file, `Host x\n  User y\nHost *\nInclude ${world.configDir}/ssh_config\n`);
    assert.match((await general(world)).of('include'), /^warn: you wrote the Include in line 4/);
    writeFileSync(file, text);

    const blocks = join(world.configDir, 'ssh_config');
    const written = readFileSync(blocks, 'utf8');
    writeFileSync(blocks, written.replace('Host build mint-build\n', 'Host other\n'));
    assert.match((await general(world)).of('include'), /^fail: no block for build$/m);
    rmSync(blocks);
    assert.match((await general(world)).of('include'), /^warn: there are no blocks/);
    writeFileSync(blocks, written, { mode: 0o600 });
  });

  test('our block: overridden, with another ProxyCommand, with a missing program', async () => {
    const file = world.sshConfigFile;
    const text = readFileSync(file, 'utf8');
    writeFileSync(file, `Host *\n  PubkeyAuthentication no\n${text}`);
    const overridden = await doctor(world, ['dev']);
    assert.match(
      overridden.of('block'),
      /^fail: pubkeyauthentication is false instead of true, perhaps by line 2/,
    );
    // The login uses its own config, so it succeeds.
    assert.match(overridden.of('login'), /^ok: /);
    writeFileSync(file, `Host dev\n  ProxyCommand nc %h %p\n${text}`);
    assert.match(
      (await doctor(world, ['dev'])).of('block'),
      /^fail: .* not run mint-ssh: ProxyCommand is nc %h %p/,
    );
    writeFileSync(file, text);
    const blocks = join(world.configDir, 'ssh_config');
    const written = readFileSync(blocks, 'utf8');
    writeFileSync(blocks, written.replaceAll(mintProgram, '/nowhere/mint-ssh'));
    const gone = await doctor(world, ['dev']);
    assert.match(gone.of('block'), /^fail: the block runs "\/nowhere\/mint-ssh", which does not exist/);
    writeFileSync(blocks, written);
  });

  test("names the user's keys that ssh may offer after ours", async () => {
    const file = world.sshConfigFile;
    const text = readFileSync(file, 'utf8');
    const key = join(world.directory, 'id mine');
    writeFileSync(key, 'a key');
    writeFileSync(file, `${text}\nHost *\n  IdentityFile "${key}"\n  IdentityFile /nowhere/id\n`);
    const { of, hint } = await doctor(world, ['dev']);
    assert.equal(of('other keys'), `warn: ssh may offer ${key} after our key`);
    assert.match(hint('other keys'), /Host \* !dev !mint-dev/);
    writeFileSync(file, text);
  });
});
