/**
 * A real sshd on loopback that stands for a VM with the Instance Connect package: it asks for a user's
 * keys with a command, which prints the file that the cloud keeps for exactly 60 s.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { waitFor } from './child.ts';
import { descendantsOf } from './processes.ts';

export interface Sshd {
  readonly port: number;
  /** The host key in force, as `<type> <base64>`, and its `SHA256:…` fingerprint. */
  readonly hostKey: { readonly line: string; readonly fingerprint: string };
  /** Everything logged so far, over restarts too. */
  log(): string;
  /** How many log-ins by public key it has accepted so far. */
  accepted(): number;
  /** The pid of the listener; undefined while stopped. */
  readonly pid: number | undefined;
  start(): Promise<void>;
  /** Ends the listener; its sessions live on unless told otherwise. */
  stop(options?: { readonly sessions?: boolean }): Promise<void>;
  /** The same machine, with its host key, at another address of loopback. */
  moveTo(address: string): Promise<void>;
  /** A new host key (ed25519 unless told), the same port: what `mint recreate` does. Sessions are ended. */
  replaceHostKey(type?: HostKeyType): Promise<void>;
}

export type HostKeyType = 'ed25519' | 'ecdsa' | 'rsa';

export interface SshdOptions {
  /** Lines of sshd_config that go first, and therefore win. */
  readonly lines?: readonly string[];
  readonly hostKeyType?: HostKeyType;
  /** Where the cloud keeps this instance's keys: `<directory>/<user>`. */
  readonly authorizedKeys: string;
  /** An address of loopback: 127.0.0.1, unless told. */
  readonly address?: string;
  /** A free one, unless told: VMs that differ by their address alone share it. */
  readonly port?: number;
  /** For its configuration, host key and log; made here. */
  readonly directory: string;
}

export const sshdProgram = '/usr/sbin/sshd';
export const loginUser = userInfo().username;

export async function startSshd(options: SshdOptions): Promise<Sshd> {
  const { directory, authorizedKeys, lines = [], hostKeyType = 'ed25519', address = '127.0.0.1' } = options;
  mkdirSync(directory, { recursive: true });
  const [configuration, logFile, keyFile] = ['sshd_config', 'sshd.log', 'host_key'].map((name) =>
    join(directory, name),
  ) as [string, string, string];
  const port = options.port ?? (await freePort());
  let process: ChildProcess | undefined;
  let sessions: number[] = [];
  let hostKey = makeHostKey(keyFile, hostKeyType);

  const text = [
    ...lines,
    `Port ${port}`,
    `HostKey ${keyFile}`,
    `AuthorizedKeysCommand /bin/cat ${authorizedKeys}/%u`,
    `AuthorizedKeysCommandUser ${loginUser}`,
    'AuthorizedKeysFile none',
    'PasswordAuthentication no',
    'KbdInteractiveAuthentication no',
    'PermitRootLogin yes',
    'StrictModes no',
    'UsePAM no',
    'UseDNS no',
    // Of this one the last wins, not the first.
    ...(lines.some((line) => /^MaxStartups\b/i.test(line)) ? [] : ['MaxStartups 200']),
    'MaxSessions 200',
    'PrintMotd no',
    'PrintLastLog no',
    'PidFile none',
    'Subsystem sftp internal-sftp',
    'LogLevel VERBOSE',
    // What runs in a session is known by it.
    // The second keeps bash from reading the ~/.bashrc of whoever runs the tests, which may take long or wait for others.
    `SetEnv MINT_SSHD=${directory} SHLVL=1`,
  ];
  const configure = (listen: string) =>
    writeFileSync(configuration, `${text.join('\n')}\nListenAddress ${listen}\n`);
  configure(address);
  writeFileSync(logFile, '');
  // Since 9.8 it shuts out an address whose logins fail; our failures are meant, and all come from one.
  const noPenalties = ['-o', 'PerSourcePenalties=no'];
  const more = accepts(['-t', '-f', configuration, ...noPenalties]) ? noPenalties : [];

  const sshd: Sshd = {
    port,
    get hostKey() {
      return hostKey;
    },
    get pid() {
      return process?.pid;
    },
    log: () => readFileSync(logFile, 'utf8'),
    accepted: () => sshd.log().match(/^Accepted publickey /gm)?.length ?? 0,
    async start() {
      if (process !== undefined) return;
      const before = sshd.log().length;
      const started = spawn(sshdProgram, ['-D', '-f', configuration, '-E', logFile, ...more], {
        stdio: 'ignore',
      });
      process = started;
      running.add(started);
      started.once('exit', () => {
        running.delete(started);
        if (process === started) process = undefined;
      });
      await waitFor('sshd to listen', 15_000, () => {
        const log = sshd.log().slice(before);
        if (process === undefined) throw new Error(`sshd ended: ${log}`);
        return log.includes('Server listening');
      });
    },
    async stop({ sessions: endSessions = false } = {}) {
      const stopped = process;
      if (stopped?.pid !== undefined) {
        sessions.push(...descendantsOf(stopped.pid).map(({ pid }) => pid));
        stopped.kill('SIGTERM');
        await waitFor('sshd to end', 15_000, () => process === undefined);
      }
      if (!endSessions) return;
      for (const pid of sessions) endSession(pid, directory);
      sessions = [];
    },
    async moveTo(other) {
      await sshd.stop({ sessions: true });
      configure(other);
      await sshd.start();
    },
    async replaceHostKey(type = hostKeyType) {
      await sshd.stop({ sessions: true });
      hostKey = makeHostKey(keyFile, type);
      await sshd.start();
    },
  };
  await sshd.start();
  return sshd;
}

const running = new Set<ChildProcess>();
process.once('exit', () => {
  for (const child of running) child.kill('SIGTERM');
});

function makeHostKey(path: string, type: HostKeyType): { line: string; fingerprint: string } {
  rmSync(path, { force: true });
  rmSync(`${path}.pub`, { force: true });
  execFileSync('ssh-keygen', ['-q', '-t', type, '-N', '', '-C', '', '-f', path]);
  const line = readFileSync(`${path}.pub`, 'utf8').trim();
  const [, fingerprint = ''] = execFileSync('ssh-keygen', ['-l', '-f', path], { encoding: 'utf8' }).split(
    ' ',
  );
  return { line, fingerprint };
}

function accepts(args: readonly string[]): boolean {
  try {
    execFileSync(sshdProgram, args, { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

/** The pid may by now be another's: only what sshd still is, or has below it, is ended. */
function endSession(pid: number, directory: string): void {
  let command = '';
  try {
    command = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
    if (!command.startsWith('sshd') && !readFileSync(`/proc/${pid}/environ`, 'utf8').includes(directory))
      return;
    process.kill(pid, 'SIGKILL');
  } catch {
    // Gone already.
  }
}

/** A port nobody listens on now. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0));
    });
  });
}
