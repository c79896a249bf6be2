/**
 * A real sshd on loopback that acts as a VM with the Instance Connect package: it asks a command for the user's keys, and
 * the command prints the file that the stand-in cloud keeps for 60 s.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { testPath } from '../programs.ts';
import { waitFor } from './child.ts';
import { type HostKey, type HostKeyType, makeHostKey } from './host-keys.ts';
import { descendantsOf } from './processes.ts';
import { makeUsers, type VmUser } from './vm-users.ts';

export type { HostKeyType } from './host-keys.ts';
export type { VmUser } from './vm-users.ts';

export interface Sshd {
  readonly port: number;
  /** The host key that OpenSSH prefers under our block: the first of `hostKeys`. */
  readonly hostKey: HostKey;
  /** All host keys in force, in the order of `hostKeyTypes`. */
  readonly hostKeys: readonly HostKey[];
  /** Everything logged so far, over restarts too. */
  log(): string;
  /** How many logins by public key it has accepted so far. */
  accepted(): number;
  /** The pid of the listener; undefined while stopped. */
  readonly pid: number | undefined;
  start(): Promise<void>;
  /** Ends the listener; its sessions live on unless told otherwise. */
  stop(options?: { readonly sessions?: boolean }): Promise<void>;
  /** Moves the machine, with its host keys, to another address of loopback. */
  moveTo(address: string): Promise<void>;
  /**
   * New host keys behind the same port, which is what recreating the VM does. Sessions are ended.
   * @param types the types that the machine has from now on; the same as before by default
   */
  replaceHostKey(...types: readonly HostKeyType[]): Promise<void>;
}

export interface SshdOptions {
  /** Lines of sshd_config that go first, and therefore win. */
  readonly lines?: readonly string[];
  /** `ed25519`, `ecdsa` and `rsa` by default, as cloud-init makes them. */
  readonly hostKeyTypes?: readonly HostKeyType[];
  /** Where the cloud keeps this instance's keys: `<directory>/<user>`. */
  readonly authorizedKeys: string;
  /** An address of loopback: 127.0.0.1 by default. */
  readonly address?: string;
  /** A free one by default. VMs that differ by their address alone share it. */
  readonly port?: number;
  /** More variables for its sessions. */
  readonly environment?: Readonly<Record<string, string>>;
  /** Users that exist on this VM alone. Only root can make them. */
  readonly users?: readonly VmUser[];
  /** For its configuration, host keys and log; made here. */
  readonly directory: string;
}

export const sshdProgram = '/usr/sbin/sshd';
export const loginUser = userInfo().username;

/** What every VM has: cloud-init makes one key of each type. */
export const usualHostKeyTypes: readonly HostKeyType[] = ['ed25519', 'ecdsa', 'rsa'];

export async function startSshd(options: SshdOptions): Promise<Sshd> {
  const { directory, authorizedKeys, lines = [], address = '127.0.0.1', users = [] } = options;
  mkdirSync(directory, { recursive: true });
  const [configuration, logFile] = ['sshd_config', 'sshd.log'].map((name) => join(directory, name)) as [
    string,
    string,
  ];
  const port = options.port ?? (await freePort());
  let types = options.hostKeyTypes ?? usualHostKeyTypes;
  let hostKeys = makeHostKeys(directory, types);
  let listenAddress = address;
  let process: ChildProcess | undefined;
  let sessions: number[] = [];
  const launcher = users.length === 0 ? [] : makeUsers(join(directory, 'users'), users);

  const sessionEnvironment = {
    // Marks what runs in a session.
    MINT_SSHD: directory,
    // The programs of a VM are the declared ones, like those of the tests.
    PATH: testPath,
    // Keeps bash from reading the ~/.bashrc of the user who runs the tests; a VM's own user has one that the test wrote.
    ...(users.length === 0 ? { SHLVL: '1' } : {}),
    ...options.environment,
  };
  const configure = () => {
    const text = [
      ...lines.map((line) => (/^SetEnv (?!.*\bPATH=)/.test(line) ? `${line} PATH=${testPath}` : line)),
      `Port ${port}`,
      ...types.map((type) => `HostKey ${hostKeyFile(directory, type)}`),
      `AuthorizedKeysCommand /bin/cat ${authorizedKeys}/%u`,
      `AuthorizedKeysCommandUser ${loginUser}`,
      'AuthorizedKeysFile none',
      'PasswordAuthentication no',
      'KbdInteractiveAuthentication no',
      'PermitRootLogin yes',
      'StrictModes no',
      'UsePAM no',
      'UseDNS no',
      'MaxSessions 200',
      'PrintMotd no',
      'PrintLastLog no',
      'PidFile none',
      'Subsystem sftp internal-sftp',
      'LogLevel VERBOSE',
      `SetEnv ${Object.entries(sessionEnvironment)
        .map(([name, value]) => `${name}=${value}`)
        .join(' ')}`,
      `ListenAddress ${listenAddress}`,
    ];
    writeFileSync(configuration, `${text.join('\n')}\n`);
  };
  configure();
  writeFileSync(logFile, '');
  // Since 9.8 sshd shuts out an address whose logins fail. Ours fail on purpose, and all come from one address.
  const noPenalties = ['-o', 'PerSourcePenalties=no'];
  const more = accepts(['-t', '-f', configuration, ...noPenalties]) ? noPenalties : [];

  const sshd: Sshd = {
    port,
    get hostKey() {
      const [first] = hostKeys;
      if (first === undefined) throw new Error('this sshd has no host key of its own');
      return first;
    },
    get hostKeys() {
      return hostKeys;
    },
    get pid() {
      return process?.pid;
    },
    log: () => readFileSync(logFile, 'utf8'),
    accepted: () => sshd.log().match(/^Accepted publickey /gm)?.length ?? 0,
    async start() {
      if (process !== undefined) return;
      const before = sshd.log().length;
      const words = [...launcher, sshdProgram, '-D', '-f', configuration, '-E', logFile, ...more];
      const started = spawn(words[0] as string, words.slice(1), { stdio: 'ignore' });
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
      listenAddress = other;
      configure();
      await sshd.start();
    },
    async replaceHostKey(...newTypes) {
      await sshd.stop({ sessions: true });
      if (newTypes.length > 0) types = newTypes;
      hostKeys = makeHostKeys(directory, types);
      configure();
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

function hostKeyFile(directory: string, type: HostKeyType): string {
  return join(directory, `ssh_host_${type}_key`);
}

function makeHostKeys(directory: string, types: readonly HostKeyType[]): HostKey[] {
  return types.map((type) => makeHostKey(hostKeyFile(directory, type), type));
}

function accepts(args: readonly string[]): boolean {
  try {
    execFileSync(sshdProgram, args, { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

/** Ends a session's process. The pid may have been given to another program by now: only sshd and its children are killed. */
function endSession(pid: number, directory: string): void {
  let command = '';
  try {
    command = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
    if (!command.startsWith('sshd') && !readFileSync(`/proc/${pid}/environ`, 'utf8').includes(directory))
      return;
    process.kill(pid, 'SIGKILL');
  } catch {
    // Already ended.
  }
}

/**
 * A port of loopback that has no listener now. It is not one that the kernel gives to outgoing connections or to listeners on
 * port 0: one of those could otherwise get it before the test listens on it, or while an sshd restarts.
 */
export async function freePort(): Promise<number> {
  for (let attempt = 0; attempt < 100; attempt += 1) {
    const port = randomInt(10_000, firstEphemeralPort());
    if (await isFree(port)) return port;
  }
  throw new Error('found no free port');
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}

/** The first port that the kernel chooses itself: ip_local_port_range in ip(7). */
function firstEphemeralPort(): number {
  try {
    return Number.parseInt(readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'latin1'), 10);
  } catch {
    return 32_768;
  }
}
