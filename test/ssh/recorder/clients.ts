/** Real clients. They only have to reach their first encrypted packet, without a login. */
import { spawn } from 'node:child_process';
import { createRequire } from 'node:module';
import type { ConnectConfig } from 'ssh2';
import type { Place } from './servers.ts';
import type { Wish } from './wish.ts';

const { Client } = createRequire(import.meta.url)('ssh2') as typeof import('ssh2');

/** Connects to a port of 127.0.0.1, and returns a function that ends the client. */
export type StartClient = (wish: Wish, place: Place, port: number) => () => void;

export const clients = { openssh, dropbear, ssh2 } satisfies Record<string, StartClient>;

function openssh(wish: Wish, { root }: Place, port: number): () => void {
  const options = {
    KexAlgorithms: wish.keyExchange,
    HostKeyAlgorithms: wish.hostKeyAlgorithm,
    UserKnownHostsFile: '/dev/null',
    GlobalKnownHostsFile: '/dev/null',
    StrictHostKeyChecking: 'no',
    BatchMode: 'yes',
    IdentityFile: 'none',
    IdentityAgent: 'none',
  };
  const settings = Object.entries(options).flatMap(([name, value]) => ['-o', `${name}=${value}`]);
  const command = ['ssh', '-F', 'none', '-p', String(port), ...settings, 'nobody@127.0.0.1', 'true'];
  return run(root === '' ? command : ['chroot', root, ...command]);
}

/** It has no options for the key exchange: it sends a guess, and the server's list decides. */
function dropbear(_wish: Wish, { directory }: Place, port: number): () => void {
  return run(['dbclient', '-y', '-y', '-T', '-p', String(port), 'nobody@127.0.0.1', 'true'], directory);
}

function run([command = '', ...arguments_]: readonly string[], home?: string): () => void {
  const env = { PATH: process.env['PATH'], ...(home === undefined ? {} : { HOME: home }) };
  const child = spawn(command, arguments_, { stdio: 'ignore', env });
  return () => child.kill();
}

function ssh2(wish: Wish, _place: Place, port: number): () => void {
  const client = new Client();
  client.on('error', () => {});
  const algorithms = { kex: [wish.keyExchange], serverHostKey: [wish.hostKeyAlgorithm] };
  const configuration = { host: '127.0.0.1', port, username: 'nobody', password: 'wrong', algorithms };
  client.connect(configuration as ConnectConfig);
  return () => client.destroy();
}
