/** `mint-ssh keys rotate` with instances that are only in EC2: launched with the key, and perhaps never logged in to. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { Instance } from '../../../src/demo/instance.ts';
import { loginUser, waitFor } from '../../openssh/world.ts';
import { makeKey } from '../key-lines.ts';
import { type KeyWorld, makeKeyWorld } from './key-world.ts';

const names = ['one', 'two', 'attached', 'stopped', 'away', 'west', 'tagged', 'plain', 'second'];

describe('mint-ssh keys rotate, with instances that EC2 shows', { timeout: 240_000 }, () => {
  let place: KeyWorld;
  /** A copy of the key that the instances were launched with. */
  let exported: string;

  before(async () => {
    // No setting names the key. `plain` is without Instance Connect.
    place = await makeKeyWorld(names, [], { plain: { sshdLines: ['AuthorizedKeysCommand none'] } });
    await place.keys(0, 'create', 'research', '--aws', '--region', 'us-east-1');
    await place.keys(0, 'import', 'research', '--aws', '--region', 'us-west-2');
    exported = join(place.world.directory, 'exported');
    await place.keys(0, 'export', 'research', '--output', exported);
    for (const name of names) {
      if (name === 'attached' || name === 'second') continue;
      const region = name === 'west' ? 'us-west-2' : 'us-east-1';
      change(name, { keyName: `cws-research-${region}`, region });
      place.letIn(publicKey(), name);
    }
    await place.keys(0, 'attach', 'research', 'attached');
    // ssh.toml has the port and the user of `by-tag`, whose Name tag leads to the instance.
    change('tagged', { tags: { Name: 'by-tag' } });
    await settings();
  });

  after(() => place.end());

  const publicKey = () => readFileSync(join(place.store, 'research.pub'), 'utf8').trim();
  const blob = (line: string) => /ssh-ed25519 (\S+)/.exec(line)?.[1] ?? '';

  function change(name: string, fields: Partial<Instance>): void {
    const { instance } = place.world.vm(name);
    const known = place.world.cloud.instances.get(instance);
    assert.ok(known);
    place.world.cloud.instances.set(instance, { ...known, ...fields });
  }

  /** Without addresses: EC2 says where each instance is. `tagged` is found by its tag, `west` in its own region. */
  async function settings(...lines: readonly string[]): Promise<void> {
    await place.world.settings([]);
    const path = join(place.world.configDir, 'ssh.toml');
    const { instance: west } = place.world.vm('west');
    const { instance: tagged } = place.world.vm('tagged');
    const text = readFileSync(path, 'utf8')
      .replaceAll('host = "127.0.0.1"\n', '')
      .replace(`instance = "${west}"`, `instance = "${west}"\nregion = "us-west-2"`)
      .replace('[vm."tagged"]', '[vm."by-tag"]')
      .replace(`instance = "${tagged}"\n`, '');
    writeFileSync(path, [...lines, text].join('\n'), { mode: 0o600 });
    const { status, stderr } = await place.world.mint(
      'ssh-config',
      '--yes',
      '--file',
      place.world.sshConfigFile,
    );
    assert.equal(status, 0, stderr);
  }

  test('every instance is given the new key, also those that were never logged in to', async () => {
    assert.ok(await place.letsIn('one'));
    change('stopped', { state: 'stopped' });
    await place.world.sshd('stopped').stop();
    await place.world.sshd('away').stop();
    const old = publicKey();
    const { stderr } = await place.keys(1, 'rotate', 'research');
    assert.notEqual(publicKey(), old);
    for (const name of ['one', 'two', 'attached', 'west', 'tagged', 'plain']) {
      assert.deepEqual(place.lines(name).map(blob), [blob(publicKey())], `${name}: ${stderr}`);
      assert.equal(await place.opens(name, exported), false, name);
      assert.ok(await place.opens(name, join(place.store, 'research')), name);
    }
    assert.match(stderr, /not done: stopped: it is stopped/);
    assert.match(stderr, /not done: away: .*\(dial-failed\)/);
    assert.match(stderr, /the old key is kept: stopped accepts only the old key/);
    assert.doesNotMatch(stderr, /gone|removed from the store/);
    for (const name of ['one', 'two', 'attached', 'plain', 'west', 'by-tag'])
      assert.ok(await place.letsIn(name), name);
    const { stdout } = await place.world.mint('vms', '--refresh');
    for (const name of names) {
      const rows = stdout.split('\n').filter((row) => row.includes(place.world.vm(name).instance));
      assert.equal(rows.length, 1, `${name} is listed once: ${stdout}`);
      assert.doesNotMatch(rows[0] ?? '', /^i-/);
    }
  });

  test('one that was stopped or could not be reached gets the old key, and is finished by its first login', async () => {
    await place.world.sshd('stopped').start();
    await place.world.sshd('away').start();
    change('stopped', { state: 'running' });
    for (const name of ['stopped', 'away']) {
      assert.ok(await place.letsIn(name), name);
      const done = () => String(place.lines(name).map(blob)) === blob(publicKey());
      await waitFor(`the rotation on ${name}`, 60_000, done);
      assert.ok(await place.letsIn(name), name);
      assert.equal(await place.opens(name, exported), false, name);
    }
    const { stderr } = await place.keys(0, 'rotate', 'research', 'away');
    assert.match(stderr, /no rotation of research is open|nothing to do/);
  });

  test('if EC2 cannot be asked, the old key stays; a terminated instance is forgotten', async () => {
    const before = publicKey();
    change('two', { state: 'terminated' });
    const { cloud } = place.world;
    const [[id, known] = ['', undefined]] = [...cloud.accessKeys];
    assert.ok(known);
    cloud.accessKeys.set(id, { ...known, denied: ['ec2:DescribeInstances'] });
    const refused = await place.keys(1, 'rotate', 'research');
    assert.match(refused.stderr, /not asked: EC2 in us-east-1: .*ec2:DescribeInstances/);
    assert.match(refused.stderr, /the old key is kept: EC2 in us-east-1 could not be asked/);
    cloud.accessKeys.set(id, known);
    const { stderr } = await place.keys(0, 'rotate', 'research');
    assert.match(stderr, /is removed from the store/);
    assert.doesNotMatch(stderr, /two/);
    assert.notEqual(publicKey(), before);
    const shown = (await place.keys(0, 'show', 'research')).stdout;
    assert.doesNotMatch(shown, /^instance: +two /m);
    assert.match(shown, /^instance: +one \(i-\S+, running \d+ s ago, last login /m);
  });

  test('--force names the instances it locks out, and removes the old key', async () => {
    await place.world.sshd('away').stop();
    await place.keys(1, 'rotate', 'research');
    const { stderr } = await place.keys(0, 'rotate', 'research', '--force');
    assert.match(stderr, /--force: away accepts only the old key; the old key is removed all the same/);
    assert.match(stderr, /SHA256:\S+ is removed from the store/);
    await place.world.sshd('away').start();
    // Its KeyName still leads to the key, which it refuses: the login falls back to Instance Connect, with a note.
    const { status, stderr: told } = await place.world.ssh('away', 'true');
    assert.equal(status, 0, told);
    assert.match(
      told,
      /away asked for another key than the managed key of its KeyName: used the one pushed through EC2 Instance/,
    );
  });

  test('an instance that refuses a key it once accepted is reached through Instance Connect at the next login', async () => {
    place.letIn('# nothing', 'one');
    const first = await place.world.ssh('one', 'true');
    assert.equal(first.status, 255);
    assert.match(first.stderr, /one refused the managed key research.* \(login-refused\)/);
    assert.match(first.stderr, /hint: .*Connect again to log in through EC2 Instance Connect/);
    const second = await place.world.ssh('one', 'true');
    assert.equal(second.status, 0, second.stderr);
    assert.match(second.stderr, /used the one pushed through EC2 Instance Connect/);
  });

  test('key add prints the address of a VM that was found by its tag', async () => {
    const line = makeKey(place.world.directory, 'phone', '-t', 'ed25519');
    const { port } = place.world.vm('tagged');
    const added = await place.world.mint('key', 'add', 'by-tag', line);
    assert.equal(added.status, 0, added.stderr);
    assert.match(added.stdout, new RegExp(`^host: +127\\.0\\.0\\.1\nport: +${port}\nuser: +${loginUser}\n`));
    const again = await place.world.mint('key', 'add', 'by-tag', line, '--json');
    const told = JSON.parse(again.stdout) as Record<string, unknown>;
    assert.deepEqual([told['host'], told['port']], ['127.0.0.1', port]);
  });

  test('an old key that another file still authorizes is not reported as removed', async () => {
    await place.keys(0, 'create', 'twice');
    await place.keys(0, 'attach', 'twice', 'second');
    writeFileSync(
      join(place.sshDirectory('second'), 'more_keys'),
      readFileSync(join(place.store, 'twice.pub')),
      {
        mode: 0o600,
      },
    );
    const { stderr } = await place.keys(1, 'rotate', 'twice');
    assert.match(stderr, /not done: second: it still accepts the old key, from a file other than/);
    assert.match(stderr, /the old key is kept: second still accepts the old key/);
    assert.doesNotMatch(stderr, /removed from the store/);
  });
});
