import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Impostor, type Insertions, startImpostor } from '../proxy/impostor.ts';
import { clientBanner, ignore, kexInit, newHostKey, newKeys, reply, serverBanner } from '../ssh/packets.ts';
import { descendantsOf } from './processes.ts';
import { type Child, freePort, loginUser, makeWorld, mintProgram, type World, waitFor } from './world.ts';

/** What a server does with a connection, regardless of what it receives. */
type Manner = (socket: Socket) => void | Promise<void>;

interface Strain {
  readonly manner: Manner;
  /** The proxy's exit status: 1 if it is not SSH, 3 for unpredicted packets. */
  readonly status: 1 | 3;
  readonly form: RegExp;
}

const behindBanner = (...bytes: Buffer[]): Manner => {
  return (socket) => {
    socket.write(Buffer.concat([serverBanner, ...bytes]));
  };
};
const lengthOf = (value: number) => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};

/** Sends the same bytes until the connection ends, 10 MB a second. */
function endlessly(bytes: Buffer, first = Buffer.alloc(0)): Manner {
  const piece = Buffer.concat(Array<Buffer>(Math.ceil(50_000 / bytes.length)).fill(bytes));
  return async (socket) => {
    socket.write(first);
    while (!socket.destroyed) {
      if (!socket.write(piece))
        await new Promise((resolve) => socket.once('drain', resolve).once('close', resolve));
      await sleep(5);
    }
  };
}

const strains: Readonly<Record<string, Strain>> = {
  'packet-too-long': {
    manner: behindBanner(lengthOf(35_004), Buffer.alloc(40_000, 20)),
    status: 3,
    form: /a packet of 35004 bytes/,
  },
  'packet-of-length-0': {
    manner: behindBanner(lengthOf(0), kexInit()),
    status: 3,
    form: /a packet has an invalid length: 0/,
  },
  'packet-of-2-gigabytes': {
    manner: behindBanner(lengthOf(0x7fffffff), kexInit()),
    status: 3,
    form: /a packet of 2147483647 bytes/,
  },
  'truncated-packet': {
    manner: behindBanner(kexInit().subarray(0, 100)),
    status: 1,
    form: /server did not complete the key exchange/,
  },
  'silent-behind-its-kexinit': {
    manner: behindBanner(kexInit()),
    status: 1,
    form: /server did not complete the key exchange/,
  },
  'random-behind-the-banner': {
    manner: behindBanner(Buffer.alloc(1, 0xff), randomBytes(100_000)),
    status: 3,
    form: /a packet of \d+ bytes/,
  },
  random: {
    manner: (socket) => {
      socket.write(randomBytes(200_000));
    },
    status: 1,
    form: /not-ssh/,
  },
  'http-server': {
    manner: (socket) => {
      socket.once('data', () => socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n'));
    },
    status: 1,
    form: /an HTTP server answered.*\n.*hint: check the host and the port/,
  },
  'endless-lines': {
    manner: endlessly(Buffer.from('this is no SSH server, whatever you heard\r\n')),
    status: 1,
    form: /no SSH version line came/,
  },
  'one-endless-line': {
    manner: endlessly(Buffer.from('x')),
    status: 1,
    form: /a line of more than/,
  },
  'lines-one-a-second': {
    manner: async (socket) => {
      for (; !socket.destroyed; await sleep(1000)) socket.write('please wait\r\n');
    },
    status: 1,
    form: /sent no SSH version line|no SSH/,
  },
  silence: { manner: () => {}, status: 1, form: /the server sent no SSH version line/ },
  'endless-ignores': {
    manner: endlessly(ignore, serverBanner),
    status: 3,
    form: /more than \d+ KiB before encryption/,
  },
  'closes-at-once': {
    manner: (socket) => {
      socket.end();
    },
    status: 1,
    form: /the server closed the connection.*\n.*hint: .*MaxStartups/,
  },
  'resets-at-once': {
    manner: (socket) => {
      socket.resetAndDestroy();
    },
    status: 1,
    form: /the server closed the connection/,
  },
  'says-why-and-closes': {
    manner: (socket) => {
      socket.end('Exceeded MaxStartups \u001b[31m\r\n');
    },
    status: 1,
    form: /the server closed the connection.*Exceeded MaxStartups \\\\u\{1b\}\[31m/,
  },
  'closes-behind-its-banner': {
    manner: (socket) => {
      socket.end(serverBanner);
    },
    status: 1,
    form: /the server closed the connection in the key exchange/,
  },
  'resets-in-the-key-exchange': {
    manner: (socket) => {
      socket.write(Buffer.concat([serverBanner, kexInit()]));
      setTimeout(() => socket.resetAndDestroy(), 300);
    },
    status: 1,
    form: /the server closed the connection in the key exchange/,
  },
};

/** What the observer is to be shown, and what a client that forgives stray packets takes for the host key. */
const pinned = newHostKey();
const attacker = newHostKey();
const groupExchange = kexInit({ keyExchanges: 'diffie-hellman-group-exchange-sha256' });
const impostures: Readonly<Record<string, { insertions: Insertions; fools: boolean }>> = {
  'reply-before-kexinit': { insertions: { afterBanner: [reply(pinned.blob)] }, fools: true },
  'second-kexinit': { insertions: { afterKexInit: [groupExchange] }, fools: true },
  'second-kexinit-before-the-reply': { insertions: { beforeReply: [groupExchange] }, fools: false },
  'newkeys-before-the-kexinit': { insertions: { afterBanner: [newKeys] }, fools: true },
  'reply-as-33-before-the-reply': { insertions: { beforeReply: [reply(pinned.blob, 33)] }, fools: true },
  'newkeys-before-the-reply': { insertions: { beforeReply: [newKeys] }, fools: true },
  'pinned-reply-first': { insertions: { beforeReply: [reply(pinned.blob)] }, fools: false },
  'pinned-reply-last': { insertions: { afterReply: [reply(pinned.blob)] }, fools: true },
};

describe('a server that strains the proxy', { concurrency: true, timeout: 300_000 }, () => {
  let world: World;
  const listeners: Server[] = [];
  const sockets = new Set<Socket>();
  const dials: Record<string, number> = {};
  const impostors = new Map<string, Impostor>();
  let pins: string;

  /** Runs ssh with a ProxyCommand that keeps the proxy's status. */
  function startSsh(vm: string, ...args: string[]): { child: Child; status(): Promise<number> } {
    const kept = join(world.directory, `status-${vm}`);
    const script = join(world.directory, `proxy-${vm}`);
    // ssh sends SIGHUP to its ProxyCommand when it ends, as it does at once after a disconnect message.
    const lines = ['#!/bin/sh', 'trap : HUP', `${mintProgram} "$@"`, `echo $? > ${kept}`, ''];
    writeFileSync(script, lines.join('\n'), { mode: 0o755 });
    const option = `ProxyCommand=${script} proxy ${vm} %p %r`;
    const child = world.startSsh(['-o', option, ...args, vm, 'true'], { timeout: 40_000 });
    const written = () => (existsSync(kept) && readFileSync(kept, 'utf8').trim()) || undefined;
    return { child, status: async () => Number(await waitFor('the status of the proxy', 15_000, written)) };
  }

  before(async () => {
    const ports: Record<string, { port: number }> = {};
    for (const [name, { manner }] of Object.entries(strains)) {
      const listener = createServer((socket) => {
        dials[name] = (dials[name] ?? 0) + 1;
        sockets.add(socket);
        socket.on('error', () => socket.destroy()).on('close', () => sockets.delete(socket));
        socket.resume();
        Promise.resolve(manner(socket)).catch(() => socket.destroy());
      });
      listeners.push(listener);
      await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
      const address = listener.address();
      ports[name] = { port: typeof address === 'object' && address !== null ? address.port : 0 };
    }
    for (const [name, { insertions }] of Object.entries(impostures)) {
      const impostor = await startImpostor(attacker, insertions);
      impostors.set(name, impostor);
      ports[name] = { port: impostor.port };
    }
    const honest = await startImpostor(attacker, {});
    impostors.set('changed-key', honest);
    ports['changed-key'] = { port: honest.port };
    world = await makeWorld({ vms: { dev: { relay: true }, drip: { relay: true }, ...ports } });
    const fingerprint = createHash('sha256').update(pinned.blob).digest('base64').replace('=', '');
    pins = [...impostors.keys()].map((name) => `${name}=SHA256:${fingerprint}\n`).join('');
    writeFileSync(join(world.configDir, 'known_hosts'), pins, { mode: 0o600 });
  });
  after(async () => {
    for (const socket of sockets) socket.destroy();
    for (const listener of listeners) listener.close();
    for (const impostor of impostors.values()) impostor.close();
    await world.end();
  });

  for (const [name, { form, status }] of Object.entries(strains)) {
    test(`${name}: an error in time, with little memory`, async (context) => {
      const session = startSsh(name);
      let most = 0;
      const timer = setInterval(() => {
        // One of these proxies starts the agent, which is its child then and no proxy.
        for (const { pid, command } of descendantsOf(session.child.pid))
          if (command.startsWith(`${mintProgram} proxy`)) most = Math.max(most, privateMegabytes(pid));
      }, 250);
      const { stderr, milliseconds, ...ended } = await session.child.done.finally(() => clearInterval(timer));
      assert.equal(ended.status, 255, stderr);
      assert.match(stderr, form);
      assert.match(stderr, /mint-ssh: error: .* \(not-ssh\)/);
      assert.doesNotMatch(stderr, /^ +at /m);
      assert.equal(await session.status(), status);
      assert.ok(milliseconds < 90_000, `${milliseconds} ms`);
      assert.ok(most < 32, `${most} MB`);
      context.diagnostic(`${Math.round(milliseconds)} ms, ${most.toFixed(1)} MB, ${dials[name]} dialled`);
      if (/at-once|and-closes/.test(name)) assert.ok((dials[name] ?? 0) >= 4, `${dials[name]} dialled`);
      else assert.equal(dials[name], 1);
    });
  }

  for (const name of [...Object.keys(impostures)]) {
    test(`${name}: refused, before the client's NEWKEYS, and no pin changes`, async () => {
      const session = startSsh(name);
      const { status, stderr } = await session.child.done;
      assert.equal(status, 255);
      assert.match(stderr, /mint-ssh: error: .* \(not-ssh\)/);
      assert.equal(await session.status(), 3);
      const impostor = impostors.get(name);
      assert.ok(impostor !== undefined);
      assert.ok(!impostor.heard.includes(21), `heard ${impostor.heard}`);
      assert.equal(impostor.behindNewKeys, 0);
      assert.equal(
        world
          .file('known_hosts')
          ?.split('\n')
          .find((line) => line.startsWith(`${name}=`)),
        pins.split('\n').find((line) => line.startsWith(`${name}=`)),
      );
    });
  }

  test('without an extra packet the other key is a changed one', async () => {
    const session = startSsh('changed-key');
    const { stderr } = await session.child.done;
    assert.match(stderr, /\(host-key-changed\)/);
    assert.equal(await session.status(), 3);
    assert.ok(!impostors.get('changed-key')?.heard.includes(21));
  });

  for (const [name, { insertions, fools }] of Object.entries(impostures)) {
    if (!fools) continue;
    test(`${name}: ssh without mint-ssh accepts the key`, async () => {
      const impostor = await startImpostor(attacker, insertions);
      const options = ['StrictHostKeyChecking=no', 'UserKnownHostsFile=/dev/null', 'BatchMode=yes'];
      const ssh = world.start('ssh', [
        ...['-F', 'none', '-p', String(impostor.port)],
        ...options.flatMap((option) => ['-o', option]),
        ...[`${loginUser}@127.0.0.1`, 'true'],
      ]);
      try {
        // It has accepted the other key, and goes on behind its NEWKEYS.
        await waitFor('what comes behind NEWKEYS', 15_000, () => impostor.behindNewKeys > 0);
      } finally {
        ssh.kill('SIGKILL');
        await ssh.done;
        impostor.close();
      }
    });
  }

  test('a VM whose sshd is too busy at first is dialled until it answers', async () => {
    const { relay } = world.vm('dev');
    assert.ok(relay);
    relay.refuse();
    const command = `ProxyCommand=${mintProgram} --timing proxy dev %p %r`;
    const session = world.startSsh(['-o', command, 'dev', 'echo in']);
    while (relay.accepted < 3) await sleep(20);
    relay.refuse(false);
    const { stdout, stderr } = await session.done;
    assert.equal(stdout, 'in\n', stderr);
    assert.match(stderr, /timing: .* · dial [\d.]+ · redial [\d.]+ · banner [\d.]+ · /);
  });

  test('waits for a banner that arrives byte by byte', async () => {
    const { relay } = world.vm('drip');
    assert.ok(relay);
    const dripping = createServer({ noDelay: true }, (socket) => {
      const sshd = connect(world.sshd('drip').port, '127.0.0.1');
      socket.pipe(sshd);
      socket.on('error', () => sshd.destroy());
      sshd.once('data', async (greeting: Buffer) => {
        sshd.pause();
        const line = greeting.subarray(0, greeting.indexOf('\n') + 1);
        for (const byte of line) {
          socket.write(Buffer.from([byte]));
          await sleep(50);
        }
        socket.write(greeting.subarray(line.length));
        sshd.pipe(socket);
      });
    });
    const port = await freePort();
    await new Promise<void>((resolve) => dripping.listen(port, '127.0.0.1', resolve));
    relay.target = port;
    try {
      const { stdout, stderr } = await world.ssh('drip', 'echo in');
      assert.equal(stdout, 'in\n', stderr);
    } finally {
      dripping.close();
    }
  });

  const silentClient = (input: Buffer | string) => {
    const child = world.start(mintProgram, ['proxy', 'drip'], { holdInput: true, timeout: 40_000 });
    child.stdin.on('error', () => {});
    child.stdin.write(input);
    return child.done;
  };

  test('a client that sends nothing, or not enough, is closed in time', async () => {
    for (const { status, stderr, milliseconds } of await Promise.all(
      ['', clientBanner].map((words) => silentClient(words)),
    )) {
      assert.equal(status, 1);
      assert.match(stderr, /server did not complete the key exchange.*\(not-ssh\)/);
      assert.ok(milliseconds < 60_000);
    }
  });

  test('refuses a client that does not speak SSH', async () => {
    for (const [words, status] of [
      ['GET / HTTP/1.1\r\n\r\n', 1],
      [randomBytes(100_000), 1],
      [Buffer.concat([clientBanner, Buffer.alloc(8, 0xff), randomBytes(1000)]), 3],
      [Buffer.concat([clientBanner, newKeys]), 3],
    ] as const) {
      const result = await silentClient(words);
      assert.equal(result.status, status, result.stderr);
      assert.match(result.stderr, /\(not-ssh\)/);
    }
  });

  test('prints nothing if the client disconnects in the middle', async () => {
    for (const input of ['', clientBanner]) {
      const child = world.start(mintProgram, ['proxy', 'drip'], { input });
      const { status, stderr, milliseconds } = await child.done;
      assert.deepEqual([status, stderr], [0, '']);
      assert.ok(milliseconds < 60_000);
    }
  });

  test('ends with input from a file or /dev/null, once the VM has been reached', async () => {
    const script = `${mintProgram} proxy drip < /dev/null; ${mintProgram} proxy drip < ${join(world.directory, 'ssh_config')}`;
    const { stderr, milliseconds } = await world.run('sh', ['-c', script]);
    assert.doesNotMatch(stderr, /internal error/);
    assert.ok(milliseconds < 60_000);
  });
});

/** What belongs to this process alone, in MB. */
function privateMegabytes(pid: number): number {
  try {
    const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
    return Number(/Private_Dirty:\s+(\d+) kB/.exec(rollup)?.[1] ?? 0) / 1024;
  } catch {
    return 0;
  }
}
