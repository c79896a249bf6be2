/** `job run`: runs a command on a job's VM, ends it together with this process, and can wait for a booting VM. */

import type { ChildProcess } from 'node:child_process';
import { constants } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { printable, say } from '../cli/terminal.ts';
import { type ErrorCode, MintError } from '../errors.ts';
import { system } from '../platform/system/system.ts';
import { type Login, withLoginConfig } from '../ssh-config/login-config.ts';
import { remoteWords } from '../ssh-config/remote-command.ts';
import { sshArguments, sshStatus, startProgram } from '../ssh-config/ssh-child.ts';

/** A signal that would end this process. A CI system sends one to cancel a build, and kills the process seconds later. */
export interface EndSignal {
  /** Its abort reason is the signal's name. */
  readonly signal: AbortSignal;
  readonly dispose: () => void;
}

/** Listens for SIGINT, SIGTERM and SIGHUP, which then no longer end this process, until `dispose`. */
export function onEndSignal(): EndSignal {
  const controller = new AbortController();
  const abort = (name: NodeJS.Signals) => controller.abort(name);
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  for (const name of signals) process.on(name, abort);
  return {
    signal: controller.signal,
    dispose: () => {
      for (const name of signals) process.off(name, abort);
    },
  };
}

/** Options against settings of the user's config that replace the command, or add to it. */
const plain = option('RemoteCommand=none');

/**
 * Runs a command on the job's VM, with our stdin, stdout and stderr. When `signal` is aborted, it ends the command on the
 * VM, because closing the connection would leave it running.
 *
 * @param line the command line for the VM's shell
 * @returns its exit status; 128 plus the signal's number if `signal` ended it
 * @throws MintError `usage` for a command that cannot be sent, `io-failed`, `unsafe-permissions`
 */
export async function runOnVm(login: Login, line: string, signal: AbortSignal): Promise<number> {
  return await withLoginConfig(login, async (file) => {
    // A second session of the same connection ends the command in the first one.
    const socket = system.hasSharedConnections ? join(dirname(file), 'c') : undefined;
    const master = socket === undefined ? [] : controlOptions('yes', socket);
    const child = startProgram('ssh', sshArguments(file, [...plain, ...master], login.vm.name, line), {
      stdio: 'inherit',
    });
    const end = () => void endRemoteCommand(child, file, socket, login.vm.name);
    const ended = exitStatus(child);
    signal.addEventListener('abort', end, { once: true });
    if (signal.aborted) end();
    try {
      const status = await ended;
      return signal.aborted ? 128 + constants.signals[signal.reason as NodeJS.Signals] : status;
    } finally {
      signal.removeEventListener('abort', end);
    }
  });
}

/** `sshStatus` without its signal handlers. */
function exitStatus(child: ChildProcess): Promise<number> {
  return sshStatus(child, undefined, { passSignals: false });
}

/** The time limit from the first signal to the end of ssh, in milliseconds. CI systems kill after about 10 s. */
const endMs = 6_000;

/**
 * A script for the VM. It sends SIGTERM, and two seconds later SIGKILL, to the process groups of the connection's other
 * sessions. sshd is the parent of each session's first process, which leads its process group.
 */
const endScript = `
leaders() {
  { ps -A -o pid= -o ppid= -o pgid= 2>/dev/null || ps -o pid,ppid,pgid; } | awk -v me=$$ '
    { parent[$1] = $2; group[$1] = $3 }
    END { mine = group[me]; for (pid in parent) if (pid != mine && parent[pid] == parent[mine]) print pid }'
}
all=$(leaders)
for leader in $all; do kill -TERM -$leader; done
for try in 1 2 3 4 5 6 7 8; do
  alive=
  for leader in $all; do kill -0 -$leader && alive=yes; done
  [ "$alive" ] || exit 0
  sleep 0.25 || sleep 1
done
for leader in $all; do kill -KILL -$leader; done
`;

async function endRemoteCommand(
  child: ChildProcess,
  file: string,
  socket: string | undefined,
  vm: string,
): Promise<void> {
  const limit = setTimeout(() => child.kill('SIGTERM'), endMs);
  child.once('exit', () => clearTimeout(limit));
  if (socket === undefined) return void child.kill('SIGTERM');
  // Never through a new connection, which could not tell which session to end.
  const options = [...plain, ...controlOptions('no', socket), ...option('ProxyCommand=false'), '-T'];
  const command = `exec ${remoteWords(['/bin/sh', '-c', endScript])}`;
  const second = startProgram('ssh', sshArguments(file, options, vm, command), { stdio: 'ignore' });
  second.once('error', () => child.kill('SIGTERM'));
  // If the session has not started, or is over, only ssh has to be ended.
  second.once('exit', (status) => status === 0 || child.kill('SIGTERM'));
}

function controlOptions(master: 'yes' | 'no', socket: string): string[] {
  return [
    ...option(`ControlMaster=${master}`),
    ...option(`ControlPath="${socket.replaceAll('%', '%%')}"`),
    ...option('ControlPersist=no'),
  ];
}

function option(text: string): string[] {
  return ['-o', text];
}

/** The time between attempts to reach a booting VM, in milliseconds. */
const pauseMs = 2_000;
/** The time limit of one attempt, in milliseconds. */
const attemptMs = 60_000;
const maxSaidBytes = 65_536;

/** Errors that waiting cannot fix. The command then runs, and fails with the full message. */
const finalCodes: ReadonlySet<string> = new Set<ErrorCode>([
  'host-key-changed',
  'host-key-unverified',
  'host-key-type',
  'known-hosts-corrupt',
  'unsafe-permissions',
  'ssh-config-unsafe',
  'job-lost',
  'job-not-found',
  'usage',
  'bad-settings',
  'bad-vm-name',
]);

/**
 * Waits until a login to the VM succeeds, or fails with an error that waiting cannot fix.
 *
 * @param limitMs the time limit in milliseconds
 * @throws MintError `dial-failed` or `login-refused` if the VM does not accept a login in time
 */
export async function waitForVm(login: Login, limitMs: number, signal: AbortSignal): Promise<void> {
  const deadline = performance.now() + limitMs;
  const vm = login.vm.name;
  await withLoginConfig(login, async (file) => {
    for (let attempt = 1; !signal.aborted; attempt += 1) {
      const failure = await tryLogin(file, vm, signal);
      if (failure === undefined) return;
      if (performance.now() + pauseMs > deadline) {
        const seconds = Math.round(limitMs / 1000);
        throw new MintError(failure.code, `${vm} did not answer within ${seconds} s: ${failure.message}`, {
          hint: `mint-ssh job list; mint-ssh ssh ${vm}`,
        });
      }
      if (attempt === 1) say(`waiting for ${vm} to answer: ${failure.message}`);
      await sleep(pauseMs, undefined, { signal }).catch(() => {});
    }
  });
}

interface Failure {
  readonly code: ErrorCode;
  readonly message: string;
}

/** @returns undefined if waiting cannot help */
async function tryLogin(file: string, vm: string, signal: AbortSignal): Promise<Failure | undefined> {
  const options = [
    ...plain,
    ...['BatchMode=yes', 'ClearAllForwardings=yes', 'ControlPath=none'].flatMap(option),
    '-T',
  ];
  const child = startProgram('ssh', sshArguments(file, options, vm, 'true'), {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let said = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(-maxSaidBytes);
  });
  const kill = () => void child.kill('SIGTERM');
  const limit = setTimeout(kill, attemptMs);
  signal.addEventListener('abort', kill);
  try {
    // Any other status comes from a session on the VM.
    if ((await exitStatus(child)) < 128) return undefined;
  } finally {
    clearTimeout(limit);
    signal.removeEventListener('abort', kill);
  }
  const [, message = '', code = ''] = /^mint-ssh: error: (.*) \(([a-z-]+)\)\r?$/m.exec(said) ?? [];
  if (finalCodes.has(code)) return undefined;
  const last = said.trimEnd().split('\n').at(-1)?.trim() ?? '';
  return {
    code: code === 'login-refused' ? code : 'dial-failed',
    message: printable((message || last || 'ssh printed no message').slice(0, 300)),
  };
}
