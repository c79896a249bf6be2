/** An agent with a key that was unlocked by a passphrase: the user is not asked again before it is locked. */
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { protocolVersion } from '../../src/agent/control/protocol.ts';
import { controlClient, controlPath, openRequest } from '../agent/clients.ts';
import { MovableClock } from './faketime.ts';
import { type Child, loginUser, makeWorld, mintProgram, type World, waitFor } from './world.ts';

const askpass = join(import.meta.dirname, '../cli/programs/askpass.sh');
const passphrase = 'correct horse battery';

/** Of `agent status --json`. */
interface StatusJson {
  readonly pid: number;
  readonly connections: number;
  readonly unlocked_keys: readonly string[];
}

describe('an agent with an unlocked key', () => {
  let world: World;
  let agent: Child;
  let clock: MovableClock;
  before(async () => {
    world = await makeWorld();
    clock = new MovableClock(join(world.home, '.faketimerc'));
    const file = join(world.directory, 'locked');
    await world.run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', passphrase, '-f', file]);
    const env = { SSH_ASKPASS: askpass, SSH_ASKPASS_REQUIRE: 'force', ASKPASS: passphrase };
    const imported = await world.run(mintProgram, ['keys', 'import', 'locked', '--key-file', file], { env });
    assert.equal(imported.status, 0, imported.stderr);
    const authorized = join(world.directory, 'keys', world.vm('dev').instance);
    mkdirSync(authorized, { recursive: true });
    const { stdout } = await world.mint('keys', 'public', 'locked');
    writeFileSync(join(authorized, loginUser), stdout);
    const address = `host = "127.0.0.1"\nport = ${world.vm('dev').port}\nuser = "${loginUser}"`;
    await world.settings(['key_lifetime = "45m"', `[vm.lab]\n${address}\naccess = "key:locked"`]);
  });
  beforeEach(async () => {
    pass(0);
    agent = world.start(mintProgram, ['agent'], { env: clock.environment, timeout: 120_000 });
    await agent.until(/the agent listens on /);
    const unlocking = { SSH_ASKPASS: askpass, SSH_ASKPASS_REQUIRE: 'force', ASKPASS: passphrase };
    const { status, stderr } = await world.startSsh(['lab', 'true'], { env: unlocking }).done;
    assert.equal(status, 0, stderr);
    assert.deepEqual(await unlocked(), ['locked']);
    await until('the connection has ended', async () => (await ask()).connections === 0);
  });
  afterEach(async () => {
    await world.mint('agent', 'stop');
    await waitFor('the agent to end', 15_000, () => world.agents().length === 0);
  });
  after(() => world.end());

  /** Sets the agent's clocks and timers to so many minutes after its start. */
  function pass(minutes: number): void {
    clock.set(minutes * 60);
  }

  async function until(what: string, isSo: () => Promise<boolean>): Promise<void> {
    for (const end = performance.now() + 20_000; !(await isSo()); await sleep(50))
      assert.ok(performance.now() < end, `not reached: ${what}`);
  }

  async function ask(): Promise<StatusJson> {
    const { stdout } = await world.mint('agent', 'status', '--json');
    return JSON.parse(stdout) as StatusJson;
  }

  const unlocked = async () => (await ask()).unlocked_keys;

  test('does not end without connections before the key is locked again', async () => {
    const [{ pid } = { pid: 0 }] = world.agents();
    // The first request makes due timers run. The second would find no agent.
    pass(40);
    assert.deepEqual(await unlocked(), ['locked']);
    assert.deepEqual(await unlocked(), ['locked']);
    assert.deepEqual(
      world.agents().map((each) => each.pid),
      [pid],
    );
    pass(50);
    await until('the key is locked', async () => (await unlocked()).length === 0);
    pass(50 + 31);
    // Its timers run when it hears something.
    await until('the agent has ended', async () => {
      await world.mint('agent', 'status');
      return world.agents().length === 0;
    });
    assert.equal((await agent.done).status, 0);
    assert.match(world.file('run/agent.log') ?? '', /ends: idle/);
  });

  test('is not superseded by a newer program before the key is locked again', async () => {
    const [{ pid } = { pid: 0 }] = world.agents();
    const newer = openRequest(world, 'dev', { version: protocolVersion + 1 });
    const client = await controlClient(controlPath(world));
    client.send(newer);
    await assert.rejects(client.reply('target'), /another version, and holds an unlocked key/);
    const { status, stderr } = await world.startSsh(['lab', 'true'], { env: { SSH_ASKPASS: '' } }).done;
    assert.equal(status, 0, stderr);
    assert.equal(world.agents()[0]?.pid, pid);
    pass(50);
    await until('the key is locked', async () => (await unlocked()).length === 0);
    client.send(newer);
    await client.reply('superseded');
    await client.close();
    await agent.done;
  });
});
