/** `mint-ssh keys rotate` over real sshds, some of them down, while someone logs in all the time. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { waitFor } from '../../openssh/world.ts';
import { readDirectory } from '../store/keys-program.ts';
import { type KeyWorld, makeKeyWorld } from './key-world.ts';

const up = ['a', 'b', 'c', 'd', 'e', 'f', 'g'];
const down = ['x', 'y', 'z'];
const all = [...up, ...down];

describe('mint-ssh keys rotate', { timeout: 300_000 }, () => {
  let place: KeyWorld;
  let [first, second] = ['', ''];

  before(async () => {
    // No AWS has a part in it: neither credentials nor an instance.
    place = await makeKeyWorld(all, ['access = "key:team"']);
    await place.keys(0, 'create', 'team');
    first = blob(readFileSync(join(place.store, 'team.pub'), 'utf8'));
  });

  after(() => place.end());

  const held = (vm: string) => place.lines(vm).map(blob);
  const otherKeys = () =>
    readDirectory(join(place.store, '.mint-ssh')).filter((file) => /\.(?:next|old)(?:\.pub)?$/.test(file));

  test('fails no login while it switches the keys, and removes the old key from each', async () => {
    const limits = 'from="127.0.0.1",no-agent-forwarding';
    place.letIn(`# by hand\n${limits} ssh-ed25519 ${first} team`, ...all);
    const pushes = place.world.cloud.pushes.length;
    for (const vm of down) await place.world.sshd(vm).stop();

    let isDone = false;
    const logins = new Map(up.map((vm) => [vm, 0]));
    const failed: string[] = [];
    // Three at once on `a`, where each is at another point of its login when the keys are switched.
    const prober = async (vms: readonly string[]) => {
      for (let at = 0; !isDone; at += 1) {
        const vm = vms[at % vms.length] ?? '';
        const { stdout, stderr } = await place.world.startSsh([vm, 'echo in'], { timeout: 90_000 }).done;
        logins.set(vm, (logins.get(vm) ?? 0) + 1);
        if (stdout !== 'in\n' || stderr !== '') failed.push(`${vm}: ${stderr}`);
      }
    };
    const probing = Promise.all([['a'], ['a'], ['a'], up].map(prober));
    const { stderr } = await place.keys(1, 'rotate', 'team');
    // And some more with what is left.
    for (const vm of up) assert.ok(await place.letsIn(vm), vm);
    isDone = true;
    await probing;

    assert.deepEqual(failed, []);
    assert.ok(
      [...logins.values()].filter((count) => count > 0).length >= 3,
      'several machines were logged in to',
    );
    second = blob(readFileSync(join(place.store, 'team.pub'), 'utf8'));
    assert.notEqual(second, first);
    for (const vm of up) {
      assert.deepEqual(place.lines(vm), ['# by hand', `${limits} ssh-ed25519 ${second} team`], vm);
    }
    for (const vm of down) {
      assert.deepEqual(held(vm).slice(1), [first], vm);
      assert.match(stderr, new RegExp(`^mint-ssh: not done: ${vm}: .*\\(dial-failed\\)$`, 'm'));
    }
    assert.match(stderr, /hint: `mint-ssh keys rotate team` continues/);
    assert.match(stderr, /the old key is kept: x accepts only the old key/);
    assert.doesNotMatch(stderr, /gone|removed from the store/);
    assert.equal(place.world.cloud.pushes.length, pushes, 'nothing was pushed');
  });

  test('serves the old key to those that were down, and finishes each at its first login', async () => {
    assert.deepEqual(otherKeys(), ['team.old', 'team.old.pub']);
    const shown = (await place.keys(0, 'show', 'team')).stdout;
    assert.match(shown, /^rotation: +not finished, since /m);
    assert.match(shown, /^instance: +x \(.*waits for the new key\)$/m);
    assert.doesNotMatch(shown, /^instance: +a \(.*waits/m);
    assert.match((await place.keys(0, 'list')).stderr, /the rotation of team is not finished/);
    assert.match((await place.keys(0, 'doctor')).stderr, /rotate team/);
    for (const vm of down) await place.world.sshd(vm).start();
    for (const vm of ['x', 'y']) assert.ok(await place.letsIn(vm), vm);
    for (const vm of ['x', 'y'])
      await waitFor(`the rotation on ${vm}`, 60_000, () => String(held(vm).slice(1)) === second);
    for (const vm of ['x', 'y', 'a']) assert.ok(await place.letsIn(vm), vm);
    assert.deepEqual(held('z').slice(1), [first]);
    assert.deepEqual(otherKeys(), ['team.old', 'team.old.pub'], 'z still needs it');
  });

  test('logs in to one that accepts the old key again, as after a restored snapshot, and finishes it once more', async () => {
    place.letIn(`ssh-ed25519 ${first} team`, 'a');
    assert.ok(await place.letsIn('a'));
    await waitFor('the rotation on a', 60_000, () => String(held('a')) === second);
    assert.ok(await place.letsIn('a'));
    place.letIn(`# by hand\nssh-ed25519 ${second} team`, 'a');
  });

  test('finishes the rest with the same new key the next time, and removes the old one', async () => {
    const { stderr } = await place.keys(0, 'rotate', 'team');
    assert.match(stderr, /continuing the rotation of team/);
    assert.match(stderr, /each of these accepts it and refuses SHA256:\S+: .*z/);
    assert.match(stderr, /SHA256:\S+ is removed from the store/);
    assert.equal(blob(readFileSync(join(place.store, 'team.pub'), 'utf8')), second);
    for (const vm of all) assert.deepEqual(held(vm).slice(1), [second], vm);
    for (const vm of down) assert.ok(await place.letsIn(vm), vm);
    assert.deepEqual(otherKeys(), []);
    assert.match(readFileSync(join(place.store, '.mint-ssh/state.json'), 'utf8'), /"rotation": null/);
  });

  test('changes nothing if no instance can get a new key', async () => {
    for (const vm of all) await place.world.sshd(vm).stop();
    const { stderr } = await place.keys(1, 'rotate', 'team');
    assert.match(stderr, /no instance could be given a new key: team is .* as before/);
    assert.equal(blob(readFileSync(join(place.store, 'team.pub'), 'utf8')), second);
    await place.world.sshd('a').start();
    assert.ok(await place.letsIn('a'));
    assert.deepEqual(held('a').slice(1), [second]);
  });
});

function blob(line: string): string {
  return /ssh-ed25519 (\S+)/.exec(line)?.[1] ?? '';
}
