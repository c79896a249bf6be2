/**
 * SSH servers inside the process that act as VMs. They accept a key while the cloud says that it is valid, and answer a
 * few fixed commands. They run no programs.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import ssh2, { type AuthContext, type Connection, type Server, type ServerChannel } from 'ssh2';
import type { Cloud } from './cloud.ts';

export interface HostOptions {
  readonly name: string;
  /** The instance whose pushed keys it accepts. */
  readonly instance: string;
  readonly cloud: Pick<Cloud, 'authorizedKeys'>;
}

export interface Host {
  /** On 127.0.0.1. */
  readonly port: number;
  /** `SHA256:…` of the current host key. */
  readonly fingerprint: string;
  /** The number of connections, of those that tried to authenticate, and of those that succeeded. */
  readonly counts: { readonly connections: number; readonly attempts: number; readonly logins: number };
  /** Replaces the machine at this address: makes a new host key, and ends every connection. */
  recreate(): void;
  close(): Promise<void>;
}

/** Starts a host on a free port of 127.0.0.1. */
export async function startHost(options: HostOptions): Promise<Host> {
  const counts = { connections: 0, attempts: 0, logins: 0 };
  const sockets = new Set<Socket>();
  let machine = makeMachine(options, counts);

  // Our own listener, so that the machine behind it can be replaced.
  const listener = createServer({ noDelay: true }, (socket) => {
    counts.connections += 1;
    sockets.add(socket);
    socket.on('error', () => socket.destroy());
    socket.on('close', () => sockets.delete(socket));
    machine.server.injectSocket(socket);
  });
  await new Promise<void>((resolve, reject) => {
    listener.once('error', reject);
    listener.listen(0, '127.0.0.1', resolve);
  });
  const endConnections = () => {
    for (const socket of sockets) socket.destroy();
  };

  return {
    port: (listener.address() as AddressInfo).port,
    get fingerprint() {
      return machine.fingerprint;
    },
    counts,
    recreate() {
      endConnections();
      machine = makeMachine(options, counts);
    },
    close() {
      endConnections();
      return new Promise((resolve) => listener.close(() => resolve()));
    },
  };
}

interface Machine {
  readonly server: Server;
  readonly fingerprint: string;
}

interface Counts {
  attempts: number;
  logins: number;
}

/**
 * Makes an Ed25519 key pair in OpenSSH's format, which ssh2 reads and node:crypto does not write. ssh2's own generator
 * is not used: one in 500 of its key pairs is rejected as malformed by ssh2 itself.
 */
export function makeHostKey(): { readonly private: string; readonly public: string } {
  for (;;) {
    const pair = ssh2.utils.generateKeyPairSync('ed25519');
    if (!(ssh2.utils.parseKey(pair.private) instanceof Error)) return pair;
  }
}

function makeMachine({ name, instance, cloud }: HostOptions, counts: Counts): Machine {
  const hostKey = makeHostKey();
  const [, blob = ''] = hostKey.public.split(' ');
  const digest = createHash('sha256').update(Buffer.from(blob, 'base64')).digest('base64');
  const server = new ssh2.Server({ hostKeys: [hostKey.private] }, (connection) => {
    connection.on('error', () => connection.end());
    connection.on('authentication', (context) => {
      counts.attempts += 1;
      if (isAuthorised(context, cloud.authorizedKeys(instance, context.username))) context.accept();
      else context.reject(['publickey']);
    });
    connection.on('ready', () => {
      counts.logins += 1;
      serveSessions(connection, name);
    });
  });
  return { server, fingerprint: `SHA256:${digest.replace(/=+$/, '')}` };
}

/** Whether the key is in `lines`, and the client's signature, if there is one (RFC 4252 §7), is valid. */
function isAuthorised(context: AuthContext, lines: readonly string[]): boolean {
  if (context.method !== 'publickey') return false;
  const { key, blob, signature, hashAlgo } = context;
  const line = lines.find((each) => {
    const wanted = Buffer.from(each.split(' ')[1] ?? '', 'base64');
    return wanted.length === key.data.length && timingSafeEqual(wanted, key.data);
  });
  if (line === undefined) return false;
  if (blob === undefined || signature === undefined) return true;
  const parsed = ssh2.utils.parseKey(line);
  return !(parsed instanceof Error) && parsed.verify(blob, signature, hashAlgo) === true;
}

function serveSessions(connection: Connection, name: string): void {
  connection.on('session', (accept) => {
    const session = accept();
    session.on('pty', (acceptPty) => acceptPty?.());
    session.on('exec', (acceptExec, _reject, { command }) => answer(acceptExec(), command, name));
    session.on('shell', (acceptShell) => {
      const channel = acceptShell();
      channel.write(`Welcome to ${name}. This is a stand-in without a shell.\r\n`);
      end(channel, 0);
    });
  });
}

function answer(channel: ServerChannel, command: string, name: string): void {
  const [word = '', ...rest] = command.split(' ');
  const words = new Map([
    ['true', ''],
    ['hostname', `${name}\n`],
    ['uptime', 'up 1 minute, 1 user, load average: 0.00, 0.00, 0.00\n'],
    ['echo', `${rest.join(' ')}\n`],
  ]);
  const text = words.get(word);
  if (text === undefined)
    channel.stderr.write(`commands of this stand-in: ${[...words.keys()].join(', ')}\n`);
  else channel.write(text);
  end(channel, text === undefined ? 127 : 0);
}

function end(channel: ServerChannel, status: number): void {
  channel.exit(status);
  channel.end();
}
