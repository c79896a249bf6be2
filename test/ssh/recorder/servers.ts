/** Real servers, one process for each connection, and their host keys. */
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { type AddressInfo, connect, createServer, type Server as NetServer } from 'node:net';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import type { ServerConfig } from 'ssh2';
import type { Wish } from './wish.ts';

const { Server } = createRequire(import.meta.url)('ssh2') as typeof import('ssh2');

export interface RunningServer {
  readonly fingerprint: string;
  /** Opens a connection to it. */
  readonly open: () => Duplex;
  readonly stop: () => void;
}

/** `root` is the server's root directory, `directory` an empty one below it. */
export interface Place {
  readonly root: string;
  readonly directory: string;
}

export type StartServer = (wish: Wish, place: Place) => Promise<RunningServer>;

export const servers = { openssh, dropbear, tinysshd, ssh2 } satisfies Record<string, StartServer>;

const keyTypes: Readonly<Record<string, readonly string[]>> = {
  'ssh-ed25519': ['-t', 'ed25519'],
  'ecdsa-sha2-nistp256': ['-t', 'ecdsa'],
  'rsa-sha2-256': ['-t', 'rsa'],
  'rsa-sha2-512': ['-t', 'rsa'],
};

function keyOptions({ hostKeyAlgorithm }: Wish): readonly string[] {
  const options = keyTypes[hostKeyAlgorithm];
  if (options === undefined) throw new Error(`no key for ${hostKeyAlgorithm}`);
  return options;
}

function fingerprintOf(publicKeyPath: string): string {
  const printed = execFileSync('ssh-keygen', ['-l', '-E', 'sha256', '-f', publicKeyPath], {
    encoding: 'utf8',
  });
  return printed.split(' ')[1] ?? '';
}

function openssh(wish: Wish, { root, directory }: Place): Promise<RunningServer> {
  const inside = directory.slice(root.length);
  const key = join(directory, 'key');
  const rsaBits = wish.hostKeyAlgorithm.startsWith('rsa') ? ['-b', '2048'] : [];
  execFileSync('ssh-keygen', ['-q', '-N', '', '-f', key, ...keyOptions(wish), ...rsaBits]);
  const config = [
    `HostKey ${inside}/key`,
    `KexAlgorithms ${wish.serverKeyExchanges ?? wish.keyExchange}`,
    'StrictModes no',
    'AuthorizedKeysFile none',
    'PidFile none',
  ];
  writeFileSync(join(directory, 'config'), config.join('\n'));
  mkdirSync(join(root, 'run/sshd'), { recursive: true, mode: 0o755 });
  const command = ['/usr/sbin/sshd', '-i', '-e', '-f', `${inside}/config`];
  return forking(fingerprintOf(`${key}.pub`), root === '' ? command : ['chroot', root, ...command]);
}

function dropbear(wish: Wish, { directory }: Place): Promise<RunningServer> {
  const key = join(directory, 'key');
  execFileSync('dropbearkey', [...keyOptions(wish), '-f', key], { stdio: 'ignore' });
  const printed = execFileSync('dropbearkey', ['-y', '-f', key], { encoding: 'utf8' });
  writeFileSync(`${key}.pub`, printed.split('\n').find((line) => /^(ssh|ecdsa)-/.test(line)) ?? '');
  return forking(fingerprintOf(`${key}.pub`), ['dropbear', '-i', '-s', '-r', key]);
}

function tinysshd(_wish: Wish, { directory }: Place): Promise<RunningServer> {
  const keys = join(directory, 'keys');
  execFileSync('tinysshd-makekey', [keys], { stdio: 'ignore' });
  const line = execFileSync('tinysshd-printkey', [keys], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  writeFileSync(join(directory, 'key.pub'), line);
  return forking(fingerprintOf(join(directory, 'key.pub')), ['tinysshd', keys]);
}

/** A server as under inetd: a process for each connection, which is its stdin and stdout. */
function forking(
  fingerprint: string,
  [command = '', ...arguments_]: readonly string[],
): Promise<RunningServer> {
  const listener = createServer({ pauseOnConnect: true }, (socket) => {
    const child = spawn(command, arguments_, { stdio: [socket, socket, 'ignore'] });
    listener.once('close', () => child.kill());
    socket.destroy();
  });
  return listening(listener, fingerprint);
}

async function ssh2(wish: Wish, { directory }: Place): Promise<RunningServer> {
  const key = join(directory, 'key');
  execFileSync('ssh-keygen', ['-q', '-N', '', '-f', key, ...keyOptions(wish)]);
  const algorithms = {
    kex: (wish.serverKeyExchanges ?? wish.keyExchange).split(','),
    serverHostKey: [wish.hostKeyAlgorithm],
  };
  const configuration = { hostKeys: [readFileSync(key)], algorithms } as ServerConfig;
  const server = new Server(configuration, (client) => client.on('error', () => {}));
  return listening(server, fingerprintOf(`${key}.pub`));
}

async function listening(
  server: Pick<NetServer, 'listen' | 'address' | 'close'>,
  fingerprint: string,
): Promise<RunningServer> {
  const { promise, resolve } = Promise.withResolvers<void>();
  server.listen(0, '127.0.0.1', resolve);
  await promise;
  const { port } = server.address() as AddressInfo;
  return { fingerprint, open: () => connect(port, '127.0.0.1'), stop: () => server.close() };
}
