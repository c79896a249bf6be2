import assert from 'node:assert/strict';
import { existsSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parseHostKey } from '../../src/ssh/hostkey.ts';
import { freePort, makeWorld, type World, waitFor } from './world.ts';

const askpass = fileURLToPath(new URL('../cli/programs/askpass.sh', import.meta.url));

/** The output of cloud-init at the first boot of a machine. */
function bootConsole(...lines: string[]): string {
  return [
    '[    0.000000] Linux version 6.1.0 (build@host) #1 SMP',
    '-----BEGIN SSH HOST KEY KEYS-----',
    ...lines,
    '-----END SSH HOST KEY KEYS-----',
    '',
  ].join('\r\n');
}

interface HostEntry {
  readonly vm: string;
  readonly fingerprint: string;
  readonly evidence: string;
  readonly console_fingerprint: string | null;
}

async function entry(world: World): Promise<HostEntry | undefined> {
  const { stdout } = await world.mint('hosts', 'list', '--json');
  return (JSON.parse(stdout) as HostEntry[]).find(({ vm }) => vm === 'dev');
}

/** Gives the instance behind `dev` a console, owner and launch time. */
function show(world: World, text: string, more: object = {}, id = world.vm('dev').instance): void {
  const instance = world.cloud.instances.get(id) ?? {
    region: 'us-east-1',
    state: 'running',
    address: '127.0.0.1',
  };
  world.cloud.instances.set(id, { ...instance, id, console: { text, at: Date.now() }, ...more } as never);
}

/** ssh on a terminal of its own; what is written to `stdin` is typed there. */
function onTerminal(world: World, command: string, more = '') {
  const words = `ssh -F '${world.sshConfigFile}' ${more} dev ${command}`;
  return world.start('script', ['-qefc', words, '/dev/null'], { holdInput: true, env: { TERM: 'dumb' } });
}

const question = /\(yes\/no\/\[fingerprint\]\)\? /;

describe('a first host key', () => {
  let world: World;
  beforeEach(async () => {
    world = await makeWorld();
  });
  const ended = (run: () => Promise<void>) => async () => {
    try {
      await run();
    } finally {
      await world.end();
    }
  };

  test(
    'that AWS’s console shows is pinned as verified',
    ended(async () => {
      show(world, bootConsole(world.sshd('dev').hostKey.line));
      assert.equal((await world.ssh('dev', 'true')).status, 0);
      assert.equal((await entry(world))?.evidence, 'console');
    }),
  );

  test(
    'that is not the one AWS shows is refused until the user accepts it',
    ended(async () => {
      const other = await makeOtherKey(world);
      show(world, bootConsole(other));
      const { status, stderr } = await world.ssh('dev', 'true');
      assert.equal(status, 255);
      assert.match(stderr, /NOT THE HOST KEY THAT AWS SHOWS/);
      assert.match(stderr, /\(host-key-unverified\)/);
      assert.equal(world.sshd('dev').accepted(), 0);
      assert.equal(world.file('known_hosts') ?? '', '');
      assert.equal(
        (await world.mint('hosts', 'accept', 'dev', world.sshd('dev').hostKey.fingerprint)).status,
        0,
      );
      assert.equal((await world.ssh('dev', 'true')).status, 0);
    }),
  );

  test(
    'that the console does not show yet is trusted, and verified when the console output arrives',
    ended(async () => {
      assert.equal((await world.ssh('dev', 'true')).status, 0);
      assert.equal((await entry(world))?.evidence, 'first-use');
      show(world, bootConsole(world.sshd('dev').hostKey.line));
      await waitFor('the late verification', 8000, async () => (await entry(world))?.evidence === 'console');
    }),
  );

  test(
    'that the console contradicts later blocks the next connection, not the running one',
    ended(async () => {
      const session = world.startSsh(['dev', 'cat'], { holdInput: true });
      await waitFor('a pin', 15_000, async () => (await entry(world)) !== undefined);
      const other = await makeOtherKey(world);
      show(world, bootConsole(other));
      await waitFor(
        'the contradiction',
        15_000,
        async () => (await entry(world))?.console_fingerprint != null,
      );
      assert.equal(session.stderr, '');
      session.stdin.write('still here\n');
      await session.until(/still here/);
      session.stdin.end();
      await session.done;
      const accepted = world.sshd('dev').accepted();
      const { status, stderr } = await world.ssh('dev', 'echo in');
      assert.equal(status, 255);
      assert.match(stderr, /AWS DOES NOT SHOW THE PINNED HOST KEY/);
      const own = fingerprintOf(other);
      const pinned = world.sshd('dev').hostKey.fingerprint;
      assert.ok(stderr.includes(pinned) && stderr.includes(own), stderr);
      assert.ok(
        stderr.indexOf(`hosts accept dev ${own}`) < stderr.indexOf(`hosts accept dev ${pinned}`),
        stderr,
      );
      assert.match(stderr, new RegExp(`hint: .*${escaped(own)}\n`));
      assert.equal(world.sshd('dev').accepted(), accepted);
      const listed = await world.mint('hosts', 'list');
      assert.match(listed.stdout + listed.stderr, /AWS shows/);

      // The user knows why, and keeps the pinned key.
      assert.equal((await world.mint('hosts', 'accept', 'dev', pinned)).status, 0);
      assert.equal((await world.ssh('dev', 'echo in')).stdout, 'in\n');
    }),
  );

  test(
    'waits no longer than two seconds for a console that does not answer',
    ended(async () => {
      await world.ssh('dev', 'true');
      await world.mint('hosts', 'forget', 'dev');
      world.cloud.faults.hang(true);
      const { status, milliseconds } = await world.ssh('dev', 'true');
      world.cloud.faults.clear();
      assert.equal(status, 0, 'the key was still warm: only the console hung');
      assert.ok(milliseconds < 60_000, `${milliseconds} ms`);
    }),
  );
});

function fingerprintOf(line: string): string {
  return parseHostKey(Buffer.from(line.split(' ')[1] ?? '', 'base64')).fingerprint;
}

function escaped(text: string): string {
  return text.replaceAll(/[.*+?^${}()|[\]\\/]/g, '\\$&');
}

async function makeOtherKey(world: World): Promise<string> {
  const path = join(world.directory, `other-${Math.random()}`);
  await world.run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', 'root@elsewhere', '-f', path]);
  return readFileSync(`${path}.pub`, 'utf8').trim();
}

describe('a changed host key', () => {
  let world: World;
  let pinned: string;
  before(async () => {
    world = await makeWorld();
  });
  after(() => world.end());
  beforeEach(async () => {
    await world.mint('hosts', 'forget', 'dev');
    assert.equal((await world.ssh('dev', 'true')).status, 0);
    await world.sshd('dev').replaceHostKey();
    pinned = world.file('known_hosts') ?? '';
  });

  /** The changed key is trusted now, and used. */
  const isAccepted = () => (world.file('known_hosts') ?? '').includes(world.sshd('dev').hostKey.fingerprint);

  test('causes a prompt on the terminal; yes lets the held connection continue', async () => {
    const ssh = onTerminal(world, 'echo in');
    await ssh.until(question);
    assert.match(ssh.stdout, /THE CONNECTION IS HELD/);
    assert.match(ssh.stdout, /does not change by itself/);
    ssh.stdin.write('yes\r');
    const { status, stdout } = await ssh.done;
    assert.equal(status, 0);
    assert.match(stdout, /^in\r?$/m);
    assert.ok(isAccepted());
  });

  test('is also accepted by its fingerprint', async () => {
    const ssh = onTerminal(world, 'echo in');
    await ssh.until(question);
    ssh.stdin.write(`${world.sshd('dev').hostKey.fingerprint}\r`);
    assert.equal((await ssh.done).status, 0);
  });

  for (const [what, typed] of [
    ['no', 'no\r'],
    ['garbage three times', 'y\rok\rsure\r'],
    ['the end of input', '\u0004'],
  ] as const) {
    test(`stays blocked after ${what}, and nothing changes`, async () => {
      const before = world.sshd('dev').accepted();
      const ssh = onTerminal(world, 'true');
      await ssh.until(question);
      ssh.stdin.write(typed);
      const { status, stdout } = await ssh.done;
      assert.equal(status, 255);
      assert.match(stdout, /\(host-key-changed\)/);
      assert.equal(world.file('known_hosts'), pinned);
      assert.equal(world.sshd('dev').accepted(), before);
    });
  }

  for (const [typed, goesOn] of [
    ['yes', true],
    ['no', false],
  ] as const) {
    test(`causes a prompt although ControlPersist hides stderr: ${typed}`, async () => {
      const control = `-o ControlMaster=auto -o ControlPersist=5 -o ControlPath='${world.directory}/c-%C'`;
      const ssh = onTerminal(world, 'echo in', control);
      await ssh.until(question);
      ssh.stdin.write(`${typed}\r`);
      assert.equal(/^in\r?$/m.test((await ssh.done).stdout), goesOn);
      assert.equal(isAccepted(), goesOn);
      await world.run('sh', ['-c', `ssh -F '${world.sshConfigFile}' -O exit ${control} dev`]);
    });
  }

  test('causes a prompt by the askpass program without a terminal, as an editor starts ssh', async () => {
    const log = join(world.directory, 'askpass.log');
    writeFileSync(log, '');
    const editor = ['-v', '-T', '-D', String(await freePort()), '-o', 'ConnectTimeout=15'];
    const ssh = world.startSsh([...editor, 'dev', 'echo in'], {
      env: { SSH_ASKPASS: askpass, DISPLAY: ':0', ASKPASS: 'yes', ASKPASS_LOG: log },
    });
    assert.equal((await ssh.done).stdout, 'in\n');
    assert.match(readFileSync(log, 'utf8'), /\[hint: confirm\][\s\S]*HAS CHANGED[\s\S]*\(yes\/no/);
  });

  test('causes one prompt for many waiting connections', async () => {
    const log = join(world.directory, 'askpass-many.log');
    writeFileSync(log, '');
    const env = { SSH_ASKPASS: askpass, DISPLAY: ':0', ASKPASS: 'yes', ASKPASS_LOG: log };
    const all = await Promise.all(
      Array.from({ length: 20 }, () => world.startSsh(['dev', 'echo in'], { env, timeout: 60_000 }).done),
    );
    assert.deepEqual(
      all.map(({ stdout }) => stdout),
      Array.from({ length: 20 }, () => 'in\n'),
    );
    assert.equal(readFileSync(log, 'utf8').match(/\[hint:/g)?.length, 1);
  });

  test('stays blocked if every connection shows another one, regardless of the probe', async () => {
    const sshd = world.sshd('dev');
    for (let time = 0; time < 3; time += 1) {
      const probed = await world.run('ssh-keyscan', ['-t', 'ed25519', '-p', String(sshd.port), '127.0.0.1']);
      assert.ok(probed.stdout.includes(sshd.hostKey.line));
      await sshd.replaceHostKey();
      const accepted = sshd.accepted();
      const { status, stderr } = await world.ssh('dev', 'true');
      assert.equal(status, 255);
      assert.match(stderr, /\(host-key-changed\)/);
      assert.ok(stderr.includes(sshd.hostKey.fingerprint));
      assert.equal(sshd.accepted(), accepted);
    }
    assert.equal(world.file('known_hosts'), pinned);
  });

  test('is blocked if no prompt is possible, and the next command reports it again', async () => {
    for (let time = 0; time < 2; time += 1) {
      const { status, stderr } = await world.ssh('dev', 'true');
      assert.equal(status, 255);
      assert.match(stderr, /THE CONNECTION WAS BLOCKED/);
      assert.ok(stderr.includes(`mint-ssh hosts accept dev ${world.sshd('dev').hostKey.fingerprint}`));
    }
    assert.equal(world.file('known_hosts'), pinned);
  });

  test('counts as accepted after ssh has given up, with a message to run the command again', async () => {
    const log = join(world.directory, 'askpass-late.log');
    const slow = join(world.directory, 'slow-askpass');
    writeFileSync(log, '');
    const given = join(world.directory, 'ssh-has-given-up');
    const script = `echo asked >${log}\nuntil [ -e ${given} ]; do sleep 0.1; done\necho yes\n`;
    writeFileSync(slow, `#!/bin/sh\n${script}`, { mode: 0o755 });
    const ssh = world.startSsh(
      ['-o', 'ServerAliveInterval=4', '-o', 'ServerAliveCountMax=1', 'dev', 'true'],
      {
        env: { SSH_ASKPASS: slow, DISPLAY: ':0' },
      },
    );
    await waitFor('the question', 15_000, () => readFileSync(log, 'utf8') !== '');
    assert.match(lastLine(world), /holds the changed/);
    await waitFor('ssh to give up', 15_000, () => !existsSync(`/proc/${ssh.pid}`));
    writeFileSync(given, '');
    const { status, stderr } = await ssh.done;
    assert.equal(status, 255);
    assert.match(stderr, /run the command again/);
    assert.ok(isAccepted());
    assert.equal((await world.ssh('dev', 'echo in')).stdout, 'in\n');
  });
});

function lastLine(world: World): string {
  return (world.file('run/agent.log') ?? '').trim().split('\n').at(-1) ?? '';
}

describe('acceptance by evidence', () => {
  test('accepts a recreated VM without a prompt only if all conditions hold', async () => {
    const world = await makeWorld();
    try {
      const sshd = world.sshd('dev');
      const old = world.vm('dev').instance;
      show(world, bootConsole(sshd.hostKey.line));
      assert.equal((await world.ssh('dev', 'true')).status, 0);
      await waitFor('the account to be known', 8000, () =>
        /"account"/.test(world.file('hosts/dev.json') ?? ''),
      );

      await sshd.replaceHostKey();
      const fresh = 'i-0fedcba9876543210';
      const toml = join(world.configDir, 'ssh.toml');
      writeFileSync(toml, readFileSync(toml, 'utf8').replace(old, fresh));
      // The sshd is the same machine's; the keys that are pushed to the new instance are good on it.
      symlinkSync(join(world.directory, 'keys', old), join(world.directory, 'keys', fresh));
      const tags = { 'mint:owner': await callersOwner(world) };
      show(world, bootConsole(sshd.hostKey.line), { tags, launchTime: Date.now() + 1000 }, fresh);

      const asked = await world.ssh('dev', 'true');
      assert.match(asked.stderr, /The instance behind dev is a new one/);
      assert.match(
        asked.stderr,
        /\(host-key-changed\)/,
        'the old instance still lives: that alone is enough to ask',
      );

      world.cloud.instances.delete(old);
      // All of it holds now. Without the setting the evidence never answers for the user.
      const byDefault = await world.ssh('dev', 'true');
      assert.equal(byDefault.status, 255);
      assert.match(byDefault.stderr, /\(host-key-changed\)/);
      assert.ok(!(world.file('known_hosts') ?? '').includes(sshd.hostKey.fingerprint));
      writeFileSync(toml, `accept_changed = "console"\n${readFileSync(toml, 'utf8')}`);
      const { status, stderr, stdout } = await world.ssh('dev', 'echo in');
      assert.deepEqual({ status, stderr, stdout }, { status: 0, stderr: '', stdout: 'in\n' });
      assert.ok((world.file('known_hosts') ?? '').includes(sshd.hostKey.fingerprint));
    } finally {
      await world.end();
    }
  });
});

/** What Mint would tag an instance of this caller with. */
async function callersOwner(world: World): Promise<string> {
  const { Aws } = await import('../../src/aws/aws.ts');
  const { CallerCredentials } = await import('../../src/agent/credentials/caller-credentials.ts');
  const aws = new Aws(new CallerCredentials());
  try {
    return (await aws.identity({ environment: world.environment }, {})).owner;
  } finally {
    await aws.close();
  }
}
