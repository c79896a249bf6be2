import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { megabytes } from '../agent/memory.ts';
import { descendantsOf } from './processes.ts';
import { type Child, makeWorld, type World, waitFor } from './world.ts';

/**
 * Sessions each way through one connection. SSH itself lets 2 MB a session be under way: one session would be kept
 * small by that, and not by the proxy.
 */
const sessions = 24;
/** Of memory of its own, in MB: what a proxy has in any copy, and room for another Node. */
const limit = 24;

/** The time limit of the whole test, in milliseconds. */
const patience = 170_000;

describe('a proxy between ends that do not read', { timeout: patience }, () => {
  let world: World;
  let master: Child;
  let proxy = 0;
  let session: readonly number[] = [];
  const children: Child[] = [];

  before(async () => {
    world = await makeWorld();
    const socket = join(world.directory, 'master');
    const shared = ['-F', world.sshConfigFile, '-S', socket];
    master = world.startSsh(['-M', '-S', socket, '-N', 'dev'], { timeout: patience });
    await waitFor('the connection to stand', 15_000, () => existsSync(socket));
    const ours = descendantsOf(master.pid);
    proxy = ours.find(({ command }) => /mint-ssh .*\bproxy\b/.test(command))?.pid ?? assert.fail('no proxy');
    const far = descendantsOf(world.sshd('dev').pid ?? assert.fail('no sshd'));
    session = far.filter(({ command }) => command.startsWith('sshd')).map(({ pid }) => pid);
    assert.notEqual(session.length, 0);
    for (let count = 0; count < sessions; count += 1) {
      for (const line of ['"$@" dev "cat >/dev/null" </dev/zero', '"$@" dev "cat /dev/zero" </dev/null'])
        children.push(
          world.start('sh', ['-c', `exec ${line} >/dev/null`, 'sh', 'ssh', ...shared], { timeout: patience }),
        );
    }
    await waitFor('bytes to flow', 60_000, () => passed() > 200e6);
  });
  after(async () => {
    resume();
    for (const child of [...children, master]) {
      child.done.catch(() => {});
      child.kill('SIGKILL');
    }
    await world.end();
  });

  /** Bytes that the proxy has read so far. */
  const passed = () => Number(/^rchar: (\d+)$/m.exec(readFileSync(`/proc/${proxy}/io`, 'utf8'))?.[1]);
  const stop = (...pids: readonly number[]) => {
    for (const pid of pids) process.kill(pid, 'SIGSTOP');
  };
  function resume(): void {
    for (const pid of [...session, master.pid]) {
      try {
        process.kill(pid, 'SIGCONT');
      } catch {
        // It has already ended.
      }
    }
  }
  async function standstill(): Promise<void> {
    for (let before = -1, now = passed(); now !== before; [before, now] = [now, passed()]) await sleep(1000);
  }
  async function flows(): Promise<void> {
    resume();
    const before = passed();
    await waitFor('bytes to flow again', 60_000, () => passed() > before + 100e6);
  }

  const stalls = [
    ['a server that does not read', () => session],
    ['a client that does not read', () => [master.pid]],
    ['a server and a client that do not read', () => [...session, master.pid]],
  ] as const;
  for (const [who, which] of stalls) {
    test(`keeps its size beside ${who}, and then continues`, async (t) => {
      stop(...which());
      await standstill();
      const size = megabytes(proxy);
      t.diagnostic(`${size.toFixed(1)} MB`);
      assert.ok(size < limit, `${size} MB`);
      await flows();
    });
  }
});
