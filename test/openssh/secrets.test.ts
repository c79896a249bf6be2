import assert from 'node:assert/strict';
import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { MovableClock } from './faketime.ts';
import { findInMemory, mayRead, pkcs8Prefix, seedInMemory } from './memory.ts';
import { descendantsOf, runningProcesses } from './processes.ts';
import { type Child, makeWorld, mintProgram, waitFor } from './world.ts';

test('a private key is only in the memory of the agent, and finally not even there', {
  timeout: 300_000,
}, async (context) => {
  const begin = Date.now() - 1000;
  const world = await makeWorld();
  const clock = new MovableClock(join(world.home, '.faketimerc'));
  let session: Child | undefined;
  try {
    const started = world.start(mintProgram, ['agent'], { env: clock.environment, timeout: 280_000 });
    await started.until(/the agent listens on /);
    session = world.startSsh(['-v', 'dev', 'echo in; cat; echo out'], {
      holdInput: true,
      timeout: 100_000,
    });
    await session.until(/in\n/);
    const status = JSON.parse((await world.mint('agent', 'status', '--json')).stdout);
    const publicKey = Buffer.from(status.vms[0].public_key.split(' ')[1], 'base64').subarray(-32);
    const agent: number = status.pid;
    const elsewhere = () => filesBelow(tmpdir()).filter((path) => isNewerThan(path, begin));
    const client = session.pid;
    /** ssh and the proxy. */
    const others = () => [client, ...descendantsOf(client).map(({ pid }) => pid)];

    if (!mayRead(agent)) {
      // Where the kernel lets no one trace a process that is not their child, the seed cannot be learned.
      context.diagnostic(
        'NOT shown: the agent’s memory cannot be read here; only forms of any key were searched for',
      );
    }
    const seed = mayRead(agent) ? seedInMemory(agent, publicKey) : undefined;
    assert.ok(seed !== undefined || !mayRead(agent), 'the seed was not found in the agent');
    // Now, while the key is still valid.
    if (seed !== undefined) {
      assert.ok(findInMemory(agent, seed).length > 0);
      assert.ok(others().length > 1);
      for (const pid of others()) assert.deepEqual(findInMemory(pid, seed), [], `in ${pid}`);
    }
    const own = seed === undefined ? [] : formsOf(seed);
    const secrets = [...anyKey, ...own];

    /** What was found, and where. Other tests may have keys of theirs in the machine's directory for such files. */
    const search = (): string[] => [
      ...filesBelow(world.directory).flatMap((path) => hitsIn(path, secrets)),
      ...elsewhere().flatMap((path) => hitsIn(path, own)),
      ...runningProcesses().flatMap(({ pid, command, environment }) =>
        hits(Buffer.from(`${command}\n${environment}`, 'latin1'), secrets).map(
          (form) => `${form} in the arguments or the environment of ${pid} ${command}`,
        ),
      ),
    ];

    const planted = join(world.configDir, 'planted');
    for (const [form, bytes] of secrets) {
      writeFileSync(planted, Buffer.concat([Buffer.from('before '), bytes, Buffer.from(' behind')]));
      assert.ok(search().includes(`${form} in ${planted}`), `${form} would not be found`);
    }
    rmSync(planted);

    assert.deepEqual(search(), []);

    session.stdin.end();
    const { stdout, stderr } = await session.done;
    assert.equal(stdout, 'in\nout\n');
    assert.deepEqual(hits(Buffer.from(stderr), secrets), []);
    assert.deepEqual(search(), []);
    if (seed === undefined) return;

    // Its fifty seconds are over; the search may have taken some of them.
    clock.set(53);
    await world.mint('agent', 'status');
    await waitFor('the key to leave the memory', 15_000, () => findInMemory(agent, seed).length === 0);
    assert.equal(world.agents()[0]?.pid, agent, 'the agent still runs');
    context.diagnostic(
      'the seed was found in the agent, in no file and no other process, and gone after its end',
    );
  } finally {
    session?.kill('SIGKILL');
    await world.end();
  }
});

type Form = readonly [name: string, bytes: Buffer];

/** The start of any private key. */
const anyKey: readonly Form[] = [
  ['a PEM', Buffer.from('PRIVATE KEY-----')],
  ['a PKCS#8', pkcs8Prefix],
  ['a PKCS#8 in base64', Buffer.from(pkcs8Prefix.toString('base64').slice(0, 20))],
  ['an OpenSSH key', Buffer.from('openssh-key-v1\0')],
  ['an OpenSSH key in base64', Buffer.from('b3BlbnNzaC1rZXktdjE')],
];

function formsOf(seed: Buffer): Form[] {
  const base64 = [0, 1, 2].flatMap((shift): Form[] => {
    // The bytes before and after it determine the first and the last character.
    const text = Buffer.concat([Buffer.alloc(shift), seed])
      .toString('base64')
      .replace(/=+$/, '');
    const inner = text.slice(shift === 0 ? 0 : shift + 1, -1);
    return [
      [`base64 at ${shift}`, Buffer.from(inner)],
      [`base64url at ${shift}`, Buffer.from(inner.replaceAll('+', '-').replaceAll('/', '_'))],
    ];
  });
  return [
    ['the seed', seed],
    ['hexadecimal', Buffer.from(seed.toString('hex'))],
    ['HEXADECIMAL', Buffer.from(seed.toString('hex').toUpperCase())],
    ['a list of numbers', Buffer.from([...seed].join(','))],
    ...base64,
  ];
}

/** The forms found, also where the text was wrapped. */
function hits(bytes: Buffer, forms: readonly Form[]): string[] {
  const unwrapped = Buffer.from(bytes.toString('latin1').replace(/[\r\n]/g, ''), 'latin1');
  return forms.filter(([, form]) => bytes.includes(form) || unwrapped.includes(form)).map(([name]) => name);
}

function hitsIn(path: string, forms: readonly Form[]): string[] {
  return hits(readIfThere(path), forms).map((form) => `${form} in ${path}`);
}

/**
 * Regular files; the host keys of the sshd that plays the VM are its own. Others may remove some meanwhile. What
 * is mounted below is not the directory's own: a /proc in there has no end.
 */
function filesBelow(directory: string, device = statSync(directory).dev): string[] {
  try {
    if (statSync(directory).dev !== device) return [];
    return readdirSync(directory, { withFileTypes: true }).flatMap((entry) => {
      const path = join(directory, entry.name);
      if (entry.isDirectory()) return filesBelow(path, device);
      return entry.isFile() && !/^ssh_host_\w+_key$/.test(entry.name) ? [path] : [];
    });
  } catch {
    return [];
  }
}

function isNewerThan(path: string, time: number): boolean {
  const status = statSync(path, { throwIfNoEntry: false });
  return status !== undefined && Math.max(status.mtimeMs, status.ctimeMs) >= time && status.size < 16 << 20;
}

function readIfThere(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch {
    return Buffer.alloc(0);
  }
}
