/** The route through a jump host: the byte stream of `ssh -W` through another host of the user's ssh config. */
import { spawn } from 'node:child_process';
import { readFileSync, readlinkSync } from 'node:fs';
import { basename } from 'node:path';
import { MintError } from '../../errors.ts';
import { userAgentSocket } from '../../platform/user-agent-socket.ts';
import { ByteStream, type Receiver } from '../byte-stream.ts';
import { timedOut } from '../errors.ts';
import type { Route } from './route.ts';

/** The login on the jump host may ask the user for a password or a code, so it gets its own time. */
const timeoutMs = 60_000;
/** Names the VMs whose proxies wait for this one, separated by commas. Each proxy adds its own. */
const chainVariable = 'MINT_SSH_VIA';

export const via: Route = {
  headStartMs: () => 0,

  async dial({ host, via: jumpHost = '' }, { vm, port, runDir }, signal) {
    const chain = (process.env[chainVariable] ?? '').split(',').filter((name) => name !== '');
    if (chain.includes(vm)) {
      throw new MintError(
        'bad-settings',
        `the jump hosts of ${vm} form a circle: ${[...chain, vm].join(' → ')}`,
        {
          hint: 'change via in ssh.toml',
        },
      );
    }
    const ssh = callingSsh();
    const target = `${host.includes(':') ? `[${host}]` : host}:${port}`;
    const words = [
      ...(ssh.config === undefined ? [] : ['-F', ssh.config]),
      '-o',
      'ForwardAgent=no',
      '-W',
      target,
      jumpHost,
    ];
    const environment: NodeJS.ProcessEnv = { ...process.env, [chainVariable]: [...chain, vm].join(',') };
    // From OpenSSH 10.5 on, ssh sets SSH_AUTH_SOCK to our socket of this VM; the jump host needs the user's own agent.
    const agent = userAgentSocket(runDir);
    if (agent === undefined) delete environment['SSH_AUTH_SOCK'];
    else environment['SSH_AUTH_SOCK'] = agent;
    const child = spawn(ssh.program, words, { env: environment, stdio: ['pipe', 'pipe', 'inherit'] });
    const failed = (what: string, cause?: unknown) =>
      new MintError('dial-failed', `cannot reach ${vm} through ${jumpHost}: ${what}`, {
        hint: `try: ssh ${jumpHost}`,
        cause,
      });
    const stream = new ByteStream((receive) => attach(child.stdout, child.stdin, receive));
    const ended = new Promise<never>((_, reject) => {
      child.once('error', (error) => reject(failed(`cannot run ssh: ${error.message}`, error)));
      child.once('close', (status) => reject(failed(`ssh exited with status ${status ?? 'none'}`)));
      signal.addEventListener('abort', () => reject(timedOut()), { once: true });
    });
    const timer = setTimeout(() => child.kill(), timeoutMs);
    try {
      // ssh -W says nothing when the connection is established: the server's first bytes show it.
      const hasBytes = stream.waitForMore(0).then((hasMore) => (hasMore ? undefined : ended));
      await Promise.race([hasBytes, ended]);
    } catch (error) {
      stream.destroy();
      child.kill();
      throw error;
    } finally {
      clearTimeout(timer);
    }
    return stream;
  },
};

function attach(source: NodeJS.ReadableStream, sink: NodeJS.WritableStream, receive: Receiver) {
  source.on('data', (bytes: Buffer) => {
    if (!receive(bytes)) source.pause();
  });
  return { source: source as never, sink: sink as never, closeSink: () => sink.end() };
}

/**
 * The ssh that started this proxy, with the config file that it was given with -F: `ssh -J` passes both on as well.
 * They are in /proc on Linux; elsewhere, and for other clients, it is the ssh in PATH with the user's config.
 */
export function callingSsh(parent: number = process.ppid): {
  readonly program: string;
  readonly config?: string;
} {
  try {
    const program = readlinkSync(`/proc/${parent}/exe`);
    if (basename(program) !== 'ssh') return { program: 'ssh' };
    const words = readFileSync(`/proc/${parent}/cmdline`, 'utf8').split('\0').slice(1, -1);
    const config = configFileOf(words);
    return config === undefined ? { program } : { program, config };
  } catch {
    return { program: 'ssh' };
  }
}

/** The options of ssh(1) that take a value. */
const withValue = new Set('bceiIlmopBDEFJLPQRSwWO');

/**
 * @param words the arguments of ssh
 * @returns the value of `-F`; undefined if there is none before the command
 */
export function configFileOf(words: readonly string[]): string | undefined {
  let hasHost = false;
  for (let at = 0; at < words.length; at += 1) {
    const word = words[at] ?? '';
    if (word === '--') return undefined;
    if (!word.startsWith('-') || word === '-') {
      // ssh takes options after the host too; a second word begins the command.
      if (hasHost) return undefined;
      hasHost = true;
      continue;
    }
    for (let letter = 1; letter < word.length; letter += 1) {
      const option = word[letter] ?? '';
      if (!withValue.has(option)) continue;
      const value = word.slice(letter + 1) || words[++at];
      if (option === 'F') return value;
      break;
    }
  }
  return undefined;
}
