import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Duplex } from 'node:stream';
import { after, before, describe, test } from 'node:test';
import ssh2 from 'ssh2';
import { Host, keyPath } from '../agent/clients.ts';
import { acceptedAtPrompt } from './audit-lines.ts';
import { type Impostor, listen, startImpostor } from './impostor.ts';
import { freePort, loginUser, makeWorld, mintProgram, type World, waitFor } from './world.ts';

describe('a host key', { timeout: 300_000 }, () => {
  let world: World;
  let openPort: number;
  let openServer: ssh2.Server;
  before(async () => {
    openPort = await freePort();
    world = await makeWorld({
      vms: { dev: {}, changed: {}, fresh: { relay: true }, open: { port: openPort }, client: {} },
    });
    const key = join(world.directory, 'open-key');
    await world.run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', key]);
    openServer = new ssh2.Server({ hostKeys: [readFileSync(key)] }, (client) => {
      client.on('error', () => {});
      client.on('authentication', (context) => context.accept());
      client.on('ready', () => {
        client.on('session', (accept) => {
          accept().on('exec', (acceptExec) => {
            const stream = acceptExec();
            stream.write('open to all\n');
            stream.exit(0);
            stream.end();
          });
        });
      });
    });
    await new Promise<void>((resolve) => openServer.listen(openPort, '127.0.0.1', resolve));
  });
  after(async () => {
    await world.end();
    await new Promise<void>((resolve) => openServer.close(() => resolve()));
  });

  /** No key of the VM is trusted, and no file is left. */
  function nothingStays(vm: string): void {
    assert.doesNotMatch(world.file('known_hosts') ?? '', new RegExp(`^${vm}=`, 'm'));
    assert.equal(world.file(`hosts/${vm}.json`), undefined);
    assert.equal(world.file(`hosts/${vm}.known_hosts`), undefined);
  }

  /** Logs in with ssh2, as open-remote-ssh does: a proxy of its own, and the VM's socket as agent. */
  async function ssh2Login(vm: string): Promise<string> {
    const proxy = spawn(mintProgram, ['proxy', vm, String(world.vm(vm).port), loginUser], {
      env: world.environment,
      stdio: ['pipe', 'pipe', 'ignore'],
    });
    const exited = new Promise((resolve) => proxy.once('exit', resolve));
    proxy.stdin.on('error', () => {});
    const client = new ssh2.Client();
    try {
      return await new Promise<string>((resolve, reject) => {
        client.on('error', reject);
        client.on('close', () => reject(new Error('closed')));
        client.on('ready', () => {
          client.exec('echo through ssh2', (error, stream) => {
            if (error) return reject(error);
            stream.on('data', (chunk: Buffer) => resolve(chunk.toString()));
          });
        });
        client.connect({
          sock: Duplex.from({ readable: proxy.stdout, writable: proxy.stdin }),
          username: loginUser,
          agent: keyPath(world, vm),
        });
      });
    } finally {
      client.end();
      client.destroy();
      proxy.stdin.destroy();
      proxy.stdout.destroy();
      await exited;
    }
  }

  async function withImpostor(vm: string, shown: Buffer, action: () => Promise<void>): Promise<void> {
    const { relay } = world.vm(vm);
    assert.ok(relay);
    const impostor: Impostor = await startImpostor(world.sshd(vm).port, shown);
    const { target } = relay;
    relay.target = impostor.port;
    try {
      await action();
    } finally {
      relay.target = target;
      await impostor.close();
    }
  }

  test('that has changed is blocked: 255, nothing authenticated, trusted keys unchanged', async () => {
    assert.equal((await world.ssh('changed', 'true')).status, 0);
    const sshd = world.sshd('changed');
    const pinned = sshd.hostKey.fingerprint;
    await sshd.replaceHostKey();
    const trusted = world.file('known_hosts');
    const derived = world.file('hosts/changed.known_hosts');
    const logged = sshd.log().length;
    const { status, stdout, stderr } = await world.ssh('changed', 'echo in');
    assert.deepEqual([status, stdout], [255, '']);
    assert.match(stderr, /\(host-key-changed\)/);
    for (const word of ['changed', pinned, sshd.hostKey.fingerprint, 'hosts accept changed']) {
      assert.ok(stderr.includes(word), `${word} is missing in: ${stderr}`);
    }
    await waitFor('sshd to see the end', 15_000, () =>
      /Connection (?:closed|reset)/.test(sshd.log().slice(logged)),
    );
    assert.doesNotMatch(sshd.log().slice(logged), /Accepted|Failed|userauth|publickey|authenticating user/);
    assert.equal(world.file('known_hosts'), trusted);
    assert.equal(world.file('hosts/changed.known_hosts'), derived);

    const accept = await world.mint('hosts', 'accept', 'changed', sshd.hostKey.fingerprint);
    assert.equal(accept.status, 0, accept.stderr);
    assert.equal((await world.ssh('changed', 'true')).status, 0);
  });

  test('that the user accepts at a prompt is in audit.log with its fingerprint', async () => {
    const sshd = world.sshd('changed');
    await sshd.replaceHostKey();
    const program = join(import.meta.dirname, '../cli/programs/askpass.sh');
    const env = { SSH_ASKPASS: program, SSH_ASKPASS_REQUIRE: 'force', ASKPASS: 'yes' };
    const { status, stderr } = await world.startSsh(['changed', 'true'], { env }).done;
    assert.equal(status, 0, stderr);
    assert.deepEqual(acceptedAtPrompt(world, 'changed'), [sshd.hostKey.fingerprint]);
  });

  test('that the user accepts on the terminal is in audit.log with its fingerprint', async () => {
    const sshd = world.sshd('changed');
    assert.equal((await world.ssh('changed', 'true')).status, 0);
    await sshd.replaceHostKey();
    const words = `ssh -F ${world.sshConfigFile} changed 'echo done'`;
    const child = world.start('script', ['-qefc', words, '/dev/null'], {
      holdInput: true,
      env: { TERM: 'dumb' },
    });
    await child.until(/yes\/no\/\[fingerprint\]/);
    child.stdin.write('yes\r');
    await child.until(/done/);
    child.stdin.end();
    const { status, stdout } = await child.done;
    assert.equal(status, 0, stdout);
    assert.deepEqual(acceptedAtPrompt(world, 'changed').at(-1), sshd.hostKey.fingerprint);
  });

  test('that its server does not own is not pinned, and the login fails, with ssh', async () => {
    await withImpostor('fresh', new Host().blob, async () => {
      const { status, stderr } = await world.ssh('fresh', 'true');
      assert.equal(status, 255);
      assert.match(stderr, /incorrect signature|signature/);
      await waitFor(
        'the provisional key to go',
        15_000,
        () => world.file('hosts/fresh.known_hosts') === undefined,
      );
      nothingStays('fresh');
    });
    assert.equal(world.sshd('fresh').accepted(), 0);
  });

  test('that its server does not own is not pinned, and the login fails, with ssh2', async () => {
    await withImpostor('fresh', new Host().blob, async () => {
      await assert.rejects(ssh2Login('fresh'), /signature|Handshake|closed/i);
      await waitFor(
        'the provisional key to go',
        15_000,
        () => world.file('hosts/fresh.known_hosts') === undefined,
      );
      nothingStays('fresh');
    });
    assert.equal(world.sshd('fresh').accepted(), 0);
  });

  test('that is the pinned one, shown by a server that does not own it, ends in a failed login', async () => {
    assert.equal((await world.ssh('fresh', 'true')).status, 0);
    const trusted = world.file('known_hosts');
    const [, line = ''] = world.sshd('fresh').hostKey.line.split(' ');
    const pinned = Buffer.from(line, 'base64');
    await world.sshd('fresh').replaceHostKey();
    const logged = world.sshd('fresh').accepted();
    await withImpostor('fresh', pinned, async () => {
      const { status, stderr } = await world.ssh('fresh', 'true');
      assert.equal(status, 255);
      assert.match(stderr, /signature/);
      await assert.rejects(ssh2Login('fresh'), /signature|Handshake|closed/i);
    });
    assert.equal(world.sshd('fresh').accepted(), logged);
    assert.equal(world.file('known_hosts'), trusted);
  });

  test('of a server that accepts every user is pinned too', async () => {
    const { status, stdout, stderr } = await world.ssh('open', 'true');
    assert.deepEqual([status, stdout, stderr], [0, 'open to all\n', '']);
    // Written beside the login, which does not wait for it.
    await waitFor('the pin', 15_000, () => /^open=SHA256:/m.test(world.file('known_hosts') ?? ''));
    assert.equal((await world.ssh('open', 'true')).status, 0);
  });

  test('is pinned by a login with ssh2, which binds no session', async () => {
    assert.equal(await ssh2Login('client'), 'through ssh2\n');
    assert.ok(world.file('known_hosts')?.includes(`client=${world.sshd('client').hostKey.fingerprint}`));
    assert.match(world.file('hosts/client.json') ?? '', /"evidence": "first-use"/);
  });

  test('that was only scanned leaves nothing', async () => {
    const door = await listen((socket) => {
      const proxy = spawn(mintProgram, ['proxy', 'dev', String(world.vm('dev').port), loginUser], {
        env: world.environment,
        stdio: ['pipe', 'pipe', 'ignore'],
      });
      proxy.stdin.on('error', () => {});
      socket.on('error', () => socket.destroy());
      socket.pipe(proxy.stdin);
      proxy.stdout.pipe(socket);
    });
    const { stdout } = await world.run('ssh-keyscan', [
      '-t',
      'ed25519',
      '-p',
      String(door.port),
      '127.0.0.1',
    ]);
    await door.close();
    assert.ok(stdout.includes(world.sshd('dev').hostKey.line.split(' ')[1] ?? '?'));
    await waitFor(
      'the provisional key to go',
      15_000,
      () => world.file('hosts/dev.known_hosts') === undefined,
    );
    nothingStays('dev');
    assert.equal((await world.ssh('dev', 'true')).status, 0);
  });
});
