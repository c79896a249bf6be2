/**
 * An SSH client for Windows: the ssh2 library. It starts the proxy as OpenSSH for Windows does, without a shell and with
 * a named pipe for each of its stdin and stdout, and finds the agent by the name of its pipe. Bundled for Node on Windows.
 *
 *     node.exe client.cjs {"proxyCommand":…,"user":…,"agent":…,"command":…}
 */
import { spawn } from 'node:child_process';
import { createReadStream } from 'node:fs';
import { Duplex } from 'node:stream';
import { Client } from 'ssh2';

interface Order {
  readonly proxyCommand: string;
  readonly user: string;
  readonly agent: string;
  readonly command: string;
  /** A file. */
  readonly input?: string;
}

const order = JSON.parse(process.argv[2] ?? '') as Order;
const [program = '', ...words] = order.proxyCommand.split(' ');
const proxy = spawn(program, words, {
  stdio: ['pipe', 'pipe', 'inherit'],
  windowsHide: true,
  windowsVerbatimArguments: true,
});
const client = new Client();
client.on('ready', () => {
  client.exec(order.command, (error, channel) => {
    if (error !== undefined) throw error;
    if (order.input !== undefined) createReadStream(order.input).pipe(channel);
    channel.on('data', (bytes: Buffer) => process.stdout.write(bytes));
    channel.once('close', (status: number) => {
      process.exitCode = status;
      client.end();
    });
  });
});
client.on('error', (error) => {
  process.stderr.write(`client: ${error.message}\n`);
  process.exitCode = 255;
});
proxy.once('close', (status) => {
  process.stderr.write(`proxy: ${status}\n`);
  client.destroy();
});
client.connect({
  sock: Duplex.from({ readable: proxy.stdout, writable: proxy.stdin }),
  username: order.user,
  agent: order.agent,
  readyTimeout: 30_000,
});
