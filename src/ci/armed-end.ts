/**
 * Arms a shutdown on the VM itself, which turns it off when the time is over, even if the holder no longer runs. That
 * terminates an EC2 instance, because its shutdown behaviour was set before.
 *
 * It only protects against a holder that dies. A visitor who becomes root on the VM can cancel it, and a reboot drops a
 * systemd timer or a pending shutdown. Then the holder or the reaper destroys the VM from outside.
 */
import type { ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { MintError } from '../errors.ts';
import type { Connect } from '../keys/remote-file.ts';
import { RemoteOutput } from '../keys/remote-output.ts';
import { type Login, withLoginConfig } from '../ssh-config/login-config.ts';
import { sshArguments, sshStatus, startProgram } from '../ssh-config/ssh-child.ts';
import { showInert } from './build-log.ts';

/** The time limit for opening the session on the VM, in milliseconds. */
const sessionMs = 120_000;
/** The time limit of the script, which tries every way to arm the shutdown, in milliseconds. */
const armMs = 60_000;

export type Arming =
  /** `by`: `systemd-run`, `shutdown` or `end-command`. */
  | { readonly kind: 'armed'; readonly by: string }
  /** Nothing is armed, and nothing changed on the VM. */
  | { readonly kind: 'refused'; readonly error: MintError }
  /** The session ended before it answered, so the end may be armed. */
  | { readonly kind: 'unknown'; readonly error: MintError };

export interface ArmOptions {
  readonly vm: string;
  readonly lease: string;
  /** The time from now to the end. */
  readonly seconds: number;
  /** The command that turns the machine off if neither systemd nor `shutdown` can; it runs on the VM as root. */
  readonly endCommand: string | undefined;
}

/** The user's own config must not change the session. The VM's output passes the filter of the build log. */
const sessionOptions = [
  '-T',
  '-a',
  '-x',
  ...['RemoteCommand=none', 'ClearAllForwardings=yes', 'ControlPath=none', 'BatchMode=yes'].flatMap(
    (option) => ['-o', option],
  ),
];

/**
 * Calls `action` with a function that starts a command in a session on the VM.
 *
 * @throws MintError `io-failed`, `unsafe-permissions`
 */
export async function withVmSessions<T>(login: Login, action: (connect: Connect) => Promise<T>): Promise<T> {
  return await withLoginConfig(login, (file) =>
    action((command) => {
      const words = sshArguments(file, sessionOptions, login.vm.name, command);
      const child = startProgram('ssh', words, { stdio: ['pipe', 'pipe', 'pipe'] });
      // If the session ends early, the reader of its stdout reports the missing answer.
      child.stdin?.on('error', () => {});
      if (child.stderr !== null) showInert(child.stderr);
      sshStatus(child).catch(() => {});
      return child;
    }),
  );
}

/**
 * Arms the end of the VM, in a separate session.
 *
 * @returns how it was armed, or why it was not
 */
export async function armEnd(connect: Connect, options: ArmOptions): Promise<Arming> {
  const { vm } = options;
  const nonce = randomBytes(8).toString('hex');
  const { command, input } = armProgram({ ...options, nonce });
  const child: ChildProcess = connect(command);
  const output = new RemoteOutput(child, `mint-debug-${nonce} `);
  let limit = setTimeout(() => child.kill('SIGKILL'), sessionMs);
  try {
    child.stdin?.write(input);
    if ((await output.line()) !== 'hello') return { kind: 'refused', error: noSession(vm) };
    clearTimeout(limit);
    limit = setTimeout(() => child.kill('SIGKILL'), armMs);
    return outcomeOf(vm, await output.line());
  } finally {
    clearTimeout(limit);
    child.stdin?.destroy();
    await output.end();
  }
}

function outcomeOf(vm: string, line: string | undefined): Arming {
  const [, word, detail = ''] = /^(armed|fail) ([a-z-]+)$/.exec(line ?? '') ?? [];
  if (word === 'armed') return { kind: 'armed', by: detail };
  const refused = (message: string, hint: string): Arming => ({
    kind: 'refused',
    error: new MintError('debug-unarmed', `${message} on ${vm}; no key was authorized`, { hint }),
  });
  if (detail === 'root') {
    return refused(
      'the end cannot be armed without root, and sudo without a password does not work',
      'begin the job with --sudo, or give its user NOPASSWD in sudoers',
    );
  }
  if (detail === 'end') {
    return refused(
      'neither systemd-run nor shutdown arms the end',
      "give a command that turns this machine off as root: --end-command '/usr/sbin/poweroff'",
    );
  }
  const error = new MintError('io-failed', `the session on ${vm} ended while its end was being armed`);
  return { kind: 'unknown', error };
}

function noSession(vm: string): MintError {
  return new MintError('io-failed', `could not open an SSH session to ${vm}; no key was authorized`, {
    hint: `see the messages of ssh above, and try a login: mint-ssh ssh ${vm}`,
  });
}

/**
 * POSIX sh. The script's lines are `mint-debug-NONCE WORD …`, to distinguish them from output of a .bashrc. It needs root,
 * and uses the first of three ways that works: a systemd timer, which is exact; `shutdown`, which counts in minutes and
 * blocks logins during its last five; a sleeping process of root. It checks each one after starting it.
 */
const script = String.raw`
exec 2>/dev/null
LC_ALL=C; export LC_ALL
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin; export PATH
umask 077
tell() { printf 'mint-debug-%s %s\n' "$nonce" "$*"; }
tell hello
end=
[ "$size" = 0 ] || end=$(dd bs=1 count="$size")
if [ "$(id -u)" = 0 ]; then
  as_root() { "$@"; }
elif sudo -n true </dev/null; then
  as_root() { sudo -n "$@"; }
else
  tell fail root
  exit 1
fi

unit=mint-debug-$lease
by_systemd() {
  command -v systemd-run >/dev/null || return 1
  as_root systemd-run --unit="$unit" --description='end of mint-ssh debug access' \
    --on-active="$seconds" --timer-property=AccuracySec=1s systemctl poweroff --force </dev/null >/dev/null || return 1
  as_root systemctl is-active --quiet "$unit.timer" </dev/null
}
# Some return at once, others stay until the time has come.
by_shutdown() {
  command -v shutdown >/dev/null || return 1
  as_root sh -c 'trap "" HUP
    for option in -P -p -h; do
      shutdown "$option" "+$1" </dev/null >/dev/null 2>&1 &
      sleep 1
      kill -0 $! && exit 0
      wait $! && exit 0
    done
    exit 1' sh $(((seconds + 59) / 60)) </dev/null
}
by_command() {
  [ -n "$end" ] || return 1
  as_root sh -c 'trap "" HUP
    (sleep "$1"; eval "$2") </dev/null >/dev/null 2>&1 &
    sleep 1
    kill -0 $!' sh "$seconds" "$end" </dev/null
}
if by_systemd; then tell armed systemd-run
elif by_shutdown; then tell armed shutdown
elif by_command; then tell armed end-command
else tell fail end
fi
`;

/** The command for ssh, which works in every login shell, and its stdin. */
export interface RemoteProgram {
  readonly command: string;
  readonly input: Buffer;
}

/**
 * @param options `nonce`: 16 hexadecimal digits
 * @throws RangeError if a value for the script is not a number or in the form of our own IDs
 */
export function armProgram({
  nonce,
  lease,
  seconds,
  endCommand = '',
}: Omit<ArmOptions, 'vm'> & { readonly nonce: string }): RemoteProgram {
  if (!/^[0-9a-f]{16}$/.test(nonce) || !/^[0-9a-f]{12}$/.test(lease) || !Number.isSafeInteger(seconds)) {
    throw new RangeError(nonce);
  }
  const data = Buffer.from(endCommand);
  const text = Buffer.from(`nonce=${nonce} lease=${lease} seconds=${seconds} size=${data.length}\n${script}`);
  // `dd` reads single bytes, so that it does not consume data after the script.
  const command = `exec sh -c 'eval "$(dd bs=1 count=${text.length} 2>/dev/null)"'`;
  return { command, input: Buffer.concat([text, data]) };
}
