/** A client that signs with each key at once, without asking the server first whether it would accept that key. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import {
  Host,
  keyClient,
  keyPath,
  loginData,
  newSession,
  proxyConnection,
  signed,
} from '../../agent/clients.ts';
import { type Result, waitFor } from '../../openssh/world.ts';
import { type KeyWorld, makeKeyWorld } from './key-world.ts';

const program = join(import.meta.dirname, '../../clients/programs/paramiko-login.py');
const up = ['a', 'b', 'c'];
const down = ['x', 'y'];

describe('a client that signs without asking first', { timeout: 180_000 }, () => {
  let place: KeyWorld;
  let [first, second] = ['', ''];

  before(async () => {
    const managed = ['access = "key:team"'];
    // No server answers at these: the test makes their key exchanges itself.
    const silent = { settings: [...managed, 'verify = "tofu"'] };
    place = await makeKeyWorld([...up, ...down, 'launched'], managed, {
      ...{ b: silent, c: silent, y: silent },
      launched: { settings: [] },
    });
    await place.keys(0, 'create', 'team');
    first = publicKey();
    place.letIn(first, ...up, ...down);
    for (const vm of down) await place.world.sshd(vm).stop();
    await place.keys(1, 'rotate', 'team');
    second = publicKey();
    for (const vm of ['b', 'c']) {
      await place.world.sshd(vm).stop();
      const forgotten = await place.world.mint('hosts', 'forget', vm);
      assert.equal(forgotten.status, 0, forgotten.stderr);
    }
  });
  after(() => place.end());

  const publicKey = () => readFileSync(join(place.store, 'team.pub'), 'utf8').trim();
  const blob = (line: string) => Buffer.from(line.split(' ')[1] ?? '', 'base64');
  const paramiko = async (vm: string): Promise<Result> => {
    const config = join(place.world.configDir, 'ssh_config');
    const env = { SSH_AUTH_SOCK: keyPath(place.world, vm) };
    return await place.world.run('/usr/bin/python3', [program, config, vm, 'echo in'], { env });
  };
  const waits = async (vm: string): Promise<boolean> =>
    new RegExp(`^instance: +${vm} .*waits for the new key\\)$`, 'm').test(
      (await place.keys(0, 'show', 'team')).stdout,
    );

  test('logs in to a VM that accepts only the second key of a rotation', async () => {
    await place.world.sshd('x').start();
    assert.ok(await waits('x'));
    place.letIn(second, 'x');
    const { stdout, stderr } = await paramiko('x');
    assert.equal(stdout, 'in\n', stderr);
    await waitFor('the note', 15_000, async () => !(await waits('x')));
  });

  test('logs in with the old key where the new one is refused, and the rotation goes on there', async () => {
    place.letIn(first, 'a');
    const { stdout, stderr } = await paramiko('a');
    assert.equal(stdout, 'in\n', stderr);
    await waitFor('the rotation on a', 60_000, () =>
      place
        .lines('a')
        .map(blob)
        .some((key) => key.equals(blob(second))),
    );
  });

  test('gets one signature for each key, and the last one is noted as the key that the VM accepts', async () => {
    for (const [vm, keys, isOld] of [
      ['b', [second, first], true],
      ['y', [first, second], false],
    ] as const) {
      const [host, session] = [new Host(), newSession()];
      const control = await proxyConnection(place.world, vm, host, session);
      const client = await keyClient(keyPath(place.world, vm));
      assert.deepEqual(await client.list(), keys.map(blob), vm);
      const isSigned = async (line: string) =>
        (await client.sign(blob(line), loginData({ session, key: blob(line) }))) === signed;
      assert.equal(await isSigned(keys[0]), true, vm);
      assert.equal(await isSigned(keys[0]), false, vm);
      assert.equal(await isSigned(keys[1]), true, vm);
      assert.equal(await isSigned(keys[1]), false, vm);
      await waitFor(`the note about ${vm}`, 15_000, async () => (await waits(vm)) === isOld);
      client.close();
      await control.close();
      // The agent tries to go on with the rotation there.
      const ended = () =>
        place.world.file('run/agent.log')?.includes(`${vm}: the rotation of team has ended`);
      await waitFor(`the rotation on ${vm}`, 60_000, () => ended() === true);
    }
  });

  test('keeps the note of the VM where the first key is accepted', async () => {
    const [host, session] = [new Host(), newSession()];
    const control = await proxyConnection(place.world, 'c', host, session);
    const client = await keyClient(keyPath(place.world, 'c'));
    assert.equal(await client.sign(blob(second), loginData({ session, key: blob(second) })), signed);
    await control.close();
    assert.equal(
      (await client.sign(blob(first), loginData({ session, key: blob(first) }))) === signed,
      false,
    );
    assert.equal(await waits('c'), false);
    client.close();
  });

  test('logs in through Instance Connect where the managed key of the KeyName is refused', async () => {
    const { world } = place;
    await place.keys(0, 'create', 'research', '--region', 'us-east-1');
    const { instance } = world.vm('launched');
    const known = world.cloud.instances.get(instance);
    assert.ok(known);
    world.cloud.instances.set(instance, { ...known, keyName: 'cws-research-us-east-1' });
    // EC2 is asked where the instance is, and says its KeyName.
    const file = join(place.world.configDir, 'ssh.toml');
    const [head = '', own = ''] = readFileSync(file, 'utf8').split('[vm."launched"]');
    const [section = '', ...rest] = own.split('\n[');
    const moved = section.replace(/^host = .*\n/m, '');
    writeFileSync(file, [`${head}[vm."launched"]${moved}`, ...rest].join('\n['), { mode: 0o600 });
    for (const _ of [1, 2]) {
      const { stdout, stderr } = await paramiko('launched');
      assert.equal(stdout, 'in\n', stderr);
    }
    const logins = (world.file('audit.log') ?? '')
      .split('\n')
      .filter((line) => line.includes('"login"') && line.includes('"launched"'));
    assert.match(logins.at(-1) ?? '', /"aws_request_id":"/);
  });
});
