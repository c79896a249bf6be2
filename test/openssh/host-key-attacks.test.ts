/** Machines in the middle against real clients, with an AWS API that fails, is late and recovers. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { bootConsole } from '../cloud/console.ts';
import { curl, sshAsking } from './other-clients.ts';
import { type HostKeyType, type Sshd, startSshd } from './sshd.ts';
import { makeWorld, type World, waitFor } from './world.ts';

/** Another machine that has the pushed keys, and host keys of its own. */
async function startAttacker(
  world: World,
  types: readonly HostKeyType[],
  lines: string[] = [],
): Promise<Sshd> {
  return startSshd({
    directory: join(world.directory, `attacker-${Math.random()}`),
    authorizedKeys: join(world.directory, 'keys', world.vm('dev').instance),
    hostKeyTypes: types,
    lines: ['SetEnv MACHINE=attacker', ...lines],
  });
}

/** An ecdsa-nistp384 key, which the stand-in's VMs do not have. */
function makeCurve384(world: World): { readonly line: string; readonly file: string } {
  const file = join(world.directory, 'nistp384');
  execFileSync('ssh-keygen', ['-q', '-t', 'ecdsa', '-b', '384', '-N', '', '-f', file]);
  return { line: `HostKey ${file}`, file };
}

function showConsole(world: World, lines: readonly string[]): void {
  const { instance } = world.vm('dev');
  const known = world.cloud.instances.get(instance);
  assert.ok(known);
  world.cloud.instances.set(instance, { ...known, console: { text: bootConsole(lines), at: Date.now() } });
}

const hostKeyLines = (sshd: Sshd) => sshd.hostKeys.map(({ line }) => line);

interface Listed {
  readonly console_fingerprint: string | null;
  readonly keys: readonly {
    readonly type: string;
    readonly evidence: string;
    readonly fingerprint: string;
  }[];
}

async function listed(world: World): Promise<Listed | undefined> {
  const { stdout } = await world.mint('hosts', 'list', '--json');
  return (JSON.parse(stdout) as (Listed & { vm: string })[]).find(({ vm }) => vm === 'dev');
}

describe('a machine in the middle at first contact', { timeout: 300_000 }, () => {
  let world: World;
  let attacker: Sshd;
  before(async () => {
    world = await makeWorld({ vms: { dev: { relay: true } } });
    attacker = await startAttacker(world, ['ed25519', 'ecdsa', 'rsa']);
  });
  after(async () => {
    await attacker.stop({ sessions: true });
    await world.end();
  });
  beforeEach(async () => {
    world.cloud.faults.of('GetConsoleOutput').clear();
    world.cloud.faults.of('GetConsoleOutput').hang(false);
    await world.mint('hosts', 'forget', 'dev');
    showConsole(world, hostKeyLines(world.sshd('dev')));
    goTo(attacker.port);
  });

  function goTo(port: number): void {
    const { relay } = world.vm('dev');
    assert.ok(relay);
    relay.target = port;
  }

  async function assertBlocked(code: string, machine: Sshd = attacker): Promise<string> {
    const accepted = machine.accepted();
    const { status, stderr } = await world.ssh('dev', 'true');
    assert.equal(status, 255);
    assert.match(stderr, new RegExp(`\\(${code}\\)`));
    assert.equal(machine.accepted(), accepted, 'nothing was authenticated');
    return stderr;
  }

  async function assertRealVmLogsIn(): Promise<void> {
    goTo(world.sshd('dev').port);
    const { status, stderr } = await world.ssh('dev', 'true');
    assert.deepEqual([status, stderr], [0, '']);
  }

  test('with a key of a type that the console does not show is blocked, and the VM logs in afterwards', async () => {
    const curve = makeCurve384(world);
    const other = await startAttacker(world, [], [curve.line]);
    try {
      goTo(other.port);
      const warning = await assertBlocked('host-key-unverified', other);
      assert.match(warning, /has\s+no\s+ecdsa-sha2-nistp384\s+key/);
      for (const { fingerprint } of world.sshd('dev').hostKeys) assert.ok(warning.includes(fingerprint));
      assert.equal(world.file('known_hosts') ?? '', '');
      await assertRealVmLogsIn();
      assert.equal(
        (await listed(world))?.keys.every(({ evidence }) => evidence === 'console'),
        true,
      );
    } finally {
      await other.stop({ sessions: true });
    }
  });

  test('stays blocked when AWS answers with an error at the next try', async () => {
    await assertBlocked('host-key-unverified');
    world.cloud.faults.of('GetConsoleOutput').failNext('AccessDeniedException', Number.POSITIVE_INFINITY);
    const again = await assertBlocked('host-key-unverified');
    assert.match(again, /REFUSED BEFORE/);
    await assertRealVmLogsIn();
  });

  test('stays blocked when AWS does not answer in time at the next try', async () => {
    await assertBlocked('host-key-unverified');
    world.cloud.faults.of('GetConsoleOutput').hang(true);
    await assertBlocked('host-key-unverified');
    await assertRealVmLogsIn();
  });

  test('stays blocked with a new key in an outage that begins after the refusal, over a restart of the agent', async () => {
    await assertBlocked('host-key-unverified');
    world.cloud.faults.of('ec2').failNext('ServiceException', Number.POSITIVE_INFINITY);
    try {
      await attacker.replaceHostKey();
      await world.mint('agent', 'stop');
      await assertBlocked('host-key-unverified');
      await assertBlocked('host-key-unverified');
      await assertRealVmLogsIn();
    } finally {
      world.cloud.faults.of('ec2').clear();
    }
  });

  test('that was pinned during an outage is blocked once AWS answers again, and AWS’s key is offered first', async () => {
    world.cloud.faults.of('GetConsoleOutput').failNext('AccessDeniedException', Number.POSITIVE_INFINITY);
    assert.equal((await world.ssh('dev', 'true')).status, 0, 'trust on first use, as ADR-0019 accepts');
    world.cloud.faults.of('GetConsoleOutput').clear();
    await waitFor('the console to be read', 60_000, () =>
      /"console": \{/.test(world.file('hosts/dev.json') ?? ''),
    );
    const own = world.sshd('dev').hostKey.fingerprint;
    const warning = await assertBlocked('host-key-unverified');
    assert.ok(warning.includes(attacker.hostKey.fingerprint));
    const [at, pinnedAt] = [own, attacker.hostKey.fingerprint].map((key) =>
      warning.indexOf(`hosts accept dev ${key}`),
    );
    assert.ok(at !== undefined && pinnedAt !== undefined && at > 0 && at < pinnedAt, warning);
    assert.ok(warning.includes(`hint: to trust the key that AWS shows: mint-ssh hosts accept dev ${own}`));
    goTo(world.sshd('dev').port);
    await assertBlocked('host-key-unverified', world.sshd('dev'));
    assert.equal((await world.mint('hosts', 'accept', 'dev', own)).status, 0);
    await assertRealVmLogsIn();
    goTo(attacker.port);
    await assertBlocked('host-key-changed');
  });

  test('is blocked for curl and for ssh', async () => {
    const accepted = attacker.accepted();
    const { status, stderr } = await curl(world, 'dev');
    assert.notEqual(status, 0);
    assert.match(stderr, /\(host-key-unverified\)/);
    assert.equal(attacker.accepted(), accepted);
  });
});

describe('a VM with host keys of three types', { timeout: 300_000 }, () => {
  let world: World;
  before(async () => {
    world = await makeWorld({ vms: { dev: {} } });
  });
  after(() => world.end());
  beforeEach(() => world.mint('hosts', 'forget', 'dev'));

  async function assertAllIsWell(): Promise<void> {
    const { sshd } = world.vm('dev');
    const line = readFileSync(join(world.configDir, 'known_hosts'), 'utf8');
    assert.equal(line, `dev=${sshd?.hostKey.fingerprint}\n`);
    const verified = await world.mint('hosts', 'verify', 'dev');
    assert.equal(verified.status, 0, verified.stdout);
    const { stdout } = await world.mint('doctor', 'dev');
    assert.doesNotMatch(stdout, /recreated|was blocked|host-key-type/);
  }

  test('is reached by curl first and by ssh second, and again', async () => {
    for (let round = 0; round < 2; round += 1) {
      const first = await curl(world, 'dev');
      assert.equal(first.status, 0, first.stderr);
      const second = await world.ssh('dev', 'echo in');
      assert.deepEqual([second.stdout, second.stderr], ['in\n', '']);
    }
    await assertAllIsWell();
  });

  test('is reached by ssh first and by curl second, and again', async () => {
    for (let round = 0; round < 2; round += 1) {
      const first = await world.ssh('dev', 'true');
      assert.deepEqual([first.status, first.stderr], [0, '']);
      const second = await curl(world, 'dev');
      assert.equal(second.status, 0, second.stderr);
    }
    await assertAllIsWell();
    const types = (await listed(world))?.keys.map(({ type, evidence }) => `${type} ${evidence}`);
    assert.deepEqual(types, ['ssh-ed25519 first-use', 'ecdsa-sha2-nistp256 proved', 'ssh-rsa proved']);
  });

  test('whose first client learned no other key: the error says how other clients can connect', async () => {
    await sshAsking(world, 'dev', 'ssh-ed25519');
    const blocked = await curl(world, 'dev');
    assert.notEqual(blocked.status, 0);
    assert.match(blocked.stderr, /\(host-key-type\)/);
    assert.match(blocked.stderr, /hint: run `ssh dev true` once.*mint-ssh hosts accept dev SHA256:/);
    assert.doesNotMatch(blocked.stderr, /HostKeyAlgorithms/);
    const ecdsa = world.sshd('dev').hostKeys.find(({ type }) => type === 'ecdsa')?.fingerprint ?? '';
    assert.equal((await world.mint('hosts', 'accept', 'dev', ecdsa)).status, 0);
    for (let round = 0; round < 2; round += 1) {
      assert.equal((await curl(world, 'dev')).status, 0);
      assert.equal((await sshAsking(world, 'dev', 'ssh-ed25519')).status, 0);
    }
    await assertAllIsWell();
  });

  test('is verified for every client if the console shows its keys', async () => {
    showConsole(world, hostKeyLines(world.sshd('dev')));
    for (const type of ['ecdsa-sha2-nistp256', 'rsa-sha2-512', 'ssh-ed25519']) {
      const { stdout, stderr } = await sshAsking(world, 'dev', type);
      assert.deepEqual([stdout, stderr], ['in\n', ''], type);
    }
    assert.deepEqual(
      (await listed(world))?.keys.map(({ evidence }) => evidence),
      ['console', 'console', 'console'],
    );
    await assertAllIsWell();
  });
});

describe('a planned rotation of the ed25519 host key', { timeout: 300_000 }, () => {
  test('alarms neither ssh nor a second client, and leaves the old key untrusted', async () => {
    const world = await makeWorld({ vms: { dev: { relay: true } } });
    const { relay } = world.vm('dev');
    assert.ok(relay);
    const [old, next] = ['old', 'new'].map((name) => {
      const file = join(world.directory, name);
      execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', file]);
      return { line: `HostKey ${file}`, public: readFileSync(`${file}.pub`, 'utf8') };
    });
    const shared = join(world.directory, 'shared-ecdsa');
    execFileSync('ssh-keygen', ['-q', '-t', 'ecdsa', '-N', '', '-f', shared]);
    assert.ok(old && next);
    const running: Sshd[] = [];
    const offer = async (...lines: string[]) => {
      for (const sshd of running.splice(0)) await sshd.stop({ sessions: true });
      const sshd = await startAttacker(world, [], [...lines, `HostKey ${shared}`]);
      running.push(sshd);
      relay.target = sshd.port;
    };
    const assertQuiet = async () => {
      for (let time = 0; time < 2; time += 1) {
        const { stdout, stderr } = await world.ssh('dev', 'echo in');
        assert.deepEqual([stdout, stderr], ['in\n', '']);
      }
      const second = await curl(world, 'dev');
      assert.equal(second.status, 0, second.stderr);
    };
    try {
      await offer(old.line);
      await assertQuiet();
      await offer(old.line, next.line);
      await assertQuiet();
      await offer(next.line);
      await assertQuiet();
      const fingerprint = execFileSync('ssh-keygen', ['-l', '-f', join(world.directory, 'new')], {
        encoding: 'utf8',
      }).split(' ')[1];
      assert.equal(world.file('known_hosts'), `dev=${fingerprint}\n`);
      await offer(old.line);
      const { status, stderr } = await world.ssh('dev', 'true');
      assert.equal(status, 255);
      assert.match(stderr, /\(host-key-changed\)/);
    } finally {
      for (const sshd of running) await sshd.stop({ sessions: true });
      await world.end();
    }
  });
});

describe('an attacker without the pinned key', { timeout: 120_000 }, () => {
  test('cannot add one from a session that began before the VM was forgotten', async () => {
    const world = await makeWorld({ vms: { dev: { relay: true } } });
    const { relay } = world.vm('dev');
    assert.ok(relay);
    const real = relay.target;
    const attacker = await startAttacker(world, ['ed25519', 'ecdsa']);
    const derived = join(world.configDir, 'hosts/dev.known_hosts');
    try {
      relay.target = attacker.port;
      const session = world.startSsh(['-o', 'UpdateHostKeys=no', 'dev', 'cat'], { holdInput: true });
      await waitFor('the pin', 15_000, () => (world.file('known_hosts') ?? '').includes('dev='));
      assert.equal((await world.mint('hosts', 'forget', 'dev')).status, 0);
      relay.target = real;
      assert.equal((await world.ssh('-o', 'UpdateHostKeys=no', 'dev', 'true')).status, 0);

      // What that session's ssh does when its server offers the new pin's key and, proved, one of its own.
      const line = attacker.hostKeys
        .find(({ type }) => type === 'ecdsa')
        ?.line.split(' ')
        .slice(0, 2);
      const before = readFileSync(derived, 'utf8');
      const added = `${before}dev ${line?.join(' ')}\n`;
      writeFileSync(derived, added);
      relay.target = attacker.port;
      const accepted = attacker.accepted();
      const { status, stderr } = await sshAsking(world, 'dev', 'ecdsa-sha2-nistp256');
      assert.equal(status, 255);
      assert.match(stderr, /\(host-key-type\)/);
      assert.equal(attacker.accepted(), accepted);

      // The VM's own host still adds its keys once that session has ended.
      session.stdin.end();
      await session.done;
      await waitFor('the file to be restored', 15_000, () => readFileSync(derived, 'utf8') === before);
      writeFileSync(derived, added);
      await waitFor('the file to be restored again', 15_000, () => readFileSync(derived, 'utf8') === before);
      relay.target = real;
      // For 2 s after a connection with a key that is not pinned the agent learns no keys and restores the file.
      for (let attempt = 1; ; attempt += 1) {
        assert.equal((await world.ssh('dev', 'true')).status, 0);
        const { stdout, stderr } = await sshAsking(world, 'dev', 'ecdsa-sha2-nistp256');
        if (stdout === 'in\n') break;
        assert.match(stderr, /\(host-key-type\)/);
        assert.ok(attempt < 5, stderr);
        await sleep(2500);
      }
      assert.ok(!readFileSync(derived, 'utf8').includes(line?.[1] ?? '?'));
    } finally {
      await attacker.stop({ sessions: true });
      await world.end();
    }
  });

  test('cannot add one by ending such a session before the next connection', async () => {
    const world = await makeWorld({ vms: { dev: { relay: true } } });
    const { relay } = world.vm('dev');
    assert.ok(relay);
    const real = relay.target;
    const attacker = await startAttacker(world, ['ed25519', 'ecdsa']);
    const derived = join(world.configDir, 'hosts/dev.known_hosts');
    try {
      relay.target = attacker.port;
      const session = world.startSsh(['-o', 'UpdateHostKeys=no', 'dev', 'cat'], { holdInput: true });
      await waitFor('the pin', 15_000, () => (world.file('known_hosts') ?? '').includes('dev='));
      assert.equal((await world.mint('hosts', 'forget', 'dev')).status, 0);
      relay.target = real;
      assert.equal((await world.ssh('-o', 'UpdateHostKeys=no', 'dev', 'true')).status, 0);
      const before = readFileSync(derived, 'utf8');

      const line = attacker.hostKeys
        .find(({ type }) => type === 'ecdsa')
        ?.line.split(' ')
        .slice(0, 2);
      const added = `${before}dev ${line?.join(' ')}\n`;
      writeFileSync(derived, added);
      session.stdin.end();
      await session.done;
      await waitFor('the file to be restored', 15_000, () => readFileSync(derived, 'utf8') === before);
      // ssh ends after its connection, and may write once more.
      writeFileSync(derived, added);
      relay.target = attacker.port;
      const accepted = attacker.accepted();
      const { status, stderr } = await sshAsking(world, 'dev', 'ecdsa-sha2-nistp256');
      assert.equal(status, 255);
      assert.match(stderr, /\(host-key-type\)/);
      assert.equal(attacker.accepted(), accepted);
      await waitFor('the file to be restored again', 15_000, () => readFileSync(derived, 'utf8') === before);
    } finally {
      await attacker.stop({ sessions: true });
      await world.end();
    }
  });
});
