import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { descendantsOf, processesOf } from './processes.ts';
import { type Child, makeWorld, type World, waitFor } from './world.ts';

/** A little over 1 GB: repeated random bytes with a counter in between, so that reordering shows. */
const block = randomBytes(32 << 20);
const blocks = 32;

function* gigabyte(): Generator<Buffer> {
  for (let count = 0; count < blocks; count += 1) {
    yield Buffer.from(`${count}\n`);
    for (let at = 0; at < block.length; at += 1 << 20) yield block.subarray(at, at + (1 << 20));
  }
}

describe('ssh, by the name of a VM', { timeout: 300_000 }, () => {
  let world: World;
  before(async () => {
    world = await makeWorld();
    writeFileSync(join(world.directory, 'block'), block);
  });
  after(() => world.end());

  const proxies = () =>
    processesOf(world.directory).filter(({ command }) => /mint-ssh .*\bproxy .*dev /.test(command));
  const noProxies = () => waitFor('the proxies to end', 15_000, () => proxies().length === 0);
  const path = (name: string) => join(world.directory, name);
  async function succeeds(program: string, ...args: string[]): Promise<string> {
    const { status, stdout, stderr } = await world.run(program, args);
    assert.equal(status, 0, `${program} ${args.join(' ')}: ${stderr}`);
    return stdout;
  }

  test('runs a command, with its input, its output and its exit status', async () => {
    const { status, stdout, stderr } = await world.startSsh(['dev', 'cat; echo to stderr >&2; exit 42'], {
      input: 'from stdin',
    }).done;
    assert.deepEqual([status, stdout, stderr], [42, 'from stdin', 'to stderr\n']);
    await noProxies();
  });

  test('ends at the end of its input, also if that is empty', async () => {
    const nothing = await world.startSsh(['dev', 'cat'], { input: '' }).done;
    assert.deepEqual([nothing.status, nothing.stdout, nothing.stderr], [0, '', '']);
    const devNull = await world.ssh('dev', 'cat');
    assert.deepEqual([devNull.status, devNull.stdout, devNull.stderr], [0, '', '']);
    const late = world.startSsh(['dev', 'echo in; cat; echo out'], { holdInput: true });
    await late.until(/in\n/);
    late.stdin.end('something\n');
    assert.equal((await late.done).stdout, 'in\nsomething\nout\n');
    await noProxies();
  });

  for (const protocol of ['-s', '-O']) {
    test(`scp ${protocol} copies both ways`, async () => {
      writeFileSync(path('up'), randomBytes(3 << 20));
      const scp = ['-q', protocol, '-F', world.sshConfigFile];
      await succeeds('scp', ...scp, path('up'), `dev:${path('there')}`);
      await succeeds('scp', ...scp, `dev:${path('there')}`, path('back'));
      assert.ok(readFileSync(path('up')).equals(readFileSync(path('back'))));
    });
  }

  test('sftp puts and gets in a batch', async () => {
    writeFileSync(path('put'), randomBytes(1 << 20));
    writeFileSync(
      path('batch'),
      `put ${path('put')} ${path('on-the-vm')}\nget ${path('on-the-vm')} ${path('got')}\nls -l ${path('got')}\n`,
    );
    await succeeds('sftp', '-q', '-F', world.sshConfigFile, '-b', path('batch'), 'dev');
    assert.ok(readFileSync(path('put')).equals(readFileSync(path('got'))));
  });

  test('rsync copies a tree there and a change back', async () => {
    mkdirSync(path('tree/below'), { recursive: true });
    for (const name of ['one', 'below/two', 'below/three']) {
      writeFileSync(path(`tree/${name}`), randomBytes(100_000));
    }
    const rsync = ['-a', '-e', `ssh -F ${world.sshConfigFile}`];
    await succeeds('rsync', ...rsync, `${path('tree')}/`, `dev:${path('copy')}/`);
    writeFileSync(path('copy/one'), 'changed on the VM');
    await succeeds('rsync', ...rsync, `dev:${path('copy')}/`, `${path('tree')}/`);
    assert.equal(readFileSync(path('tree/one'), 'utf8'), 'changed on the VM');
    await succeeds('diff', '-r', path('tree'), path('copy'));
  });

  test('git clones, commits and pushes over it', async () => {
    const git = async (...args: string[]) => {
      const env = {
        GIT_SSH_COMMAND: `ssh -F ${world.sshConfigFile}`,
        GIT_CONFIG_GLOBAL: '/dev/null',
        GIT_CONFIG_SYSTEM: '/dev/null',
      };
      const name = ['-c', 'user.name=A', '-c', 'user.email=a@example.com', '-c', 'init.defaultBranch=main'];
      const { status, stdout, stderr } = await world.start('git', [...name, ...args], { env }).done;
      assert.equal(status, 0, `git ${args.join(' ')}: ${stderr}`);
      return stdout;
    };
    await git('init', '-q', '--bare', path('far.git'));
    await git('clone', '-q', `dev:${path('far.git')}`, path('near'));
    writeFileSync(path('near/file'), randomBytes(200_000));
    await git('-C', path('near'), 'add', 'file');
    await git('-C', path('near'), 'commit', '-q', '-m', 'A file');
    await git('-C', path('near'), 'push', '-q', 'origin', 'HEAD:main');
    await git('clone', '-q', '-b', 'main', `dev:${path('far.git')}`, path('again'));
    assert.ok(readFileSync(path('near/file')).equals(readFileSync(path('again/file'))));
  });

  let idle: Child;
  let idleSince: number;
  test('an idle session starts beside two busy ones', async () => {
    idle = world.startSsh(['dev', 'echo in; sleep 16; cat'], { holdInput: true, timeout: 150_000 });
    await idle.until(/in\n/);
    idleSince = performance.now();
  });

  test('downloads 1 GB unchanged', async (context) => {
    const hash = createHash('sha256');
    for (const piece of gigabyte()) hash.update(piece);
    const script = `i=0; while [ $i -lt ${blocks} ]; do echo $i; cat ${path('block')}; i=$((i+1)); done`;
    const down = await world.startSsh(['dev', script], { hashOutput: true, timeout: 50_000 }).done;
    const [length, digest] = down.stdout.split(' ');
    assert.ok(Number(length) > 1 << 30);
    assert.equal(digest, hash.digest('hex'));
    assert.equal(down.status, 0);
    context.diagnostic(`${Math.round(Number(length) / 1000 / down.milliseconds)} MB/s`);
  });

  test('uploads 1 GB unchanged, without growth of the proxy’s memory', async (context) => {
    const hash = createHash('sha256');
    for (const piece of gigabyte()) hash.update(piece);
    const up = world.startSsh(['dev', 'echo in; sha256sum'], {
      input: Readable.from(gigabyte(), { objectMode: false, highWaterMark: 1 << 20 }),
      timeout: 50_000,
    });
    await up.until(/in\n/);
    const proxy = descendantsOf(up.pid).find(({ command }) => command.includes('mint-ssh'));
    assert.ok(proxy);
    const memory = sample(() => privateMegabytes(proxy.pid), up);
    const { status, stdout, milliseconds } = await up.done;
    assert.equal(stdout, `in\n${hash.digest('hex')}  -\n`);
    assert.equal(status, 0);
    const most = Math.max(...(await memory));
    context.diagnostic(
      `${Math.round((1 << 30) / 1000 / milliseconds)} MB/s, at most ${most} MB private memory`,
    );
    assert.ok(most < 32, `${most} MB`);
  });

  test('the idle session outlives every time limit of the login', async () => {
    await sleep(Math.max(0, 17_000 - (performance.now() - idleSince)));
    idle.stdin.end('still here');
    const { stdout, status } = await idle.done;
    assert.deepEqual([stdout, status], ['in\nstill here', 0]);
  });

  test('a reader that leaves early ends the connection at once', async () => {
    const script = `ssh -F ${world.sshConfigFile} dev yes | head -n 1`;
    const { stdout, milliseconds } = await world.run('sh', ['-c', script]);
    assert.equal(stdout, 'y\n');
    assert.ok(milliseconds < 60_000, `${milliseconds} ms`);
    await noProxies();
  });

  test('a server that ends first ends ssh and the proxy', async () => {
    const session = world.startSsh(['dev', 'echo in; cat'], { holdInput: true });
    await session.until(/in\n/);
    assert.equal(proxies().length, 1);
    const pid = world.sshd('dev').pid;
    assert.ok(pid);
    for (const { pid: child, command } of descendantsOf(pid))
      if (/^sshd: /.test(command)) process.kill(child, 'SIGKILL');
    const { status, milliseconds } = await session.done;
    assert.equal(status, 255);
    assert.ok(milliseconds < 60_000);
    await noProxies();
  });

  for (const signal of ['SIGKILL', 'SIGHUP', 'SIGTERM', 'SIGINT'] as const) {
    test(`ssh ended by ${signal} leaves no proxy and no session`, async () => {
      const session = world.startSsh(['dev', 'echo in; cat'], { holdInput: true });
      await session.until(/in\n/);
      // To ssh alone, not to its group.
      process.kill(session.pid, signal);
      const { milliseconds } = await session.done;
      assert.ok(milliseconds < 60_000);
      await noProxies();
      const { pid = 0 } = world.sshd('dev');
      await waitFor('the session to end', 15_000, () => descendantsOf(pid).length === 0);
    });
  }

  test('ssh ended while the connection is being made leaves no proxy', async () => {
    const release = world.cloud.faults.hold();
    try {
      await succeeds(join(import.meta.dirname, '../../dist/mint-ssh'), 'agent', 'stop');
      const session = world.startSsh(['dev', 'true']);
      await waitFor('the push', 15_000, () => world.cloud.faults.waiting > 0);
      await waitFor('a proxy', 15_000, () => proxies().length === 1);
      process.kill(session.pid, 'SIGKILL');
      const { stderr, milliseconds } = await session.done;
      await noProxies();
      assert.ok(milliseconds < 60_000, `${milliseconds} ms`);
      assert.equal(stderr, '');
    } finally {
      release();
    }
  });

  test('a shared connection works, ends with its last client, and leaves no proxy', async () => {
    const shared = [
      ...['-o', `ControlPath=${path('control')}`, '-o', 'ControlMaster=auto'],
      ...['-o', 'ControlPersist=60', 'dev'],
    ];
    const before = world.sshd('dev').accepted();
    for (const word of ['one', 'two', 'three']) {
      const { stdout, stderr } = await world.ssh(...shared, `echo ${word}`);
      assert.equal(stdout, `${word}\n`, stderr);
    }
    assert.equal(world.sshd('dev').accepted(), before + 1);
    await world.ssh('-O', 'exit', ...shared);
    await noProxies();
  });

  test('ssh -v shows no prompt, our key and our host key file', async () => {
    const { status, stderr } = await world.ssh('-v', 'dev', 'true');
    assert.equal(status, 0);
    assert.match(stderr, /Host 'dev' is known and matches the ED25519 host key/);
    assert.match(stderr, /Server accepts key: mint-ssh dev ED25519/);
    assert.doesNotMatch(stderr, /Permanently added|authenticity|Connection reset|Broken pipe|error/i);
  });

  test('--verbose explains each decision, and --timing shows where the time went', async () => {
    const command = `${join(import.meta.dirname, '../../dist/mint-ssh')} --verbose --timing proxy dev %p %r`;
    const { status, stderr } = await world.ssh('-o', `ProxyCommand=${command}`, 'dev', 'true');
    assert.equal(status, 0, stderr);
    assert.match(stderr, /dev is 127\.0\.0\.1 port \d+/);
    assert.match(stderr, /host key SHA256:\S{43} \(\S+\) is pinned/);
    const [, phases = '', total] = /timing: (.*) · total ([\d.]+) ms/.exec(stderr) ?? [];
    const sum = phases.split(' · ').reduce((sum, phase) => sum + Number(phase.split(' ').at(-1)), 0);
    assert.ok(Math.abs(sum - Number(total)) < 1, stderr);
    assert.doesNotMatch(stderr, /\n {4}at /);
  });
});

/** Looks again and again until the child has ended. */
async function sample(look: () => number, child: Child): Promise<number[]> {
  const seen: number[] = [];
  const timer = setInterval(() => seen.push(look()), 200);
  await child.done.finally(() => clearInterval(timer));
  return seen.filter((value) => value > 0);
}

/** What belongs to this process alone: the executable's own pages are shared by all that run it. */
function privateMegabytes(pid: number): number {
  try {
    const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
    return Number(/Private_Dirty:\s+(\d+) kB/.exec(rollup)?.[1] ?? 0) / 1024;
  } catch {
    return 0;
  }
}
