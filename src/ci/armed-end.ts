/**
 * Arms a shutdown on the VM itself, which turns it off when the time is over, even if the holder no longer runs. An instance that is turned off terminates, because its shutdown behaviour was set before.
 *
 * It only protects against a holder that dies. A visitor who becomes root on the VM can cancel it, and a systemd timer or a
 * pending shutdown is gone after a reboot. Then the holder or the reaper destroys the VM from outside.
 */
import type { ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { MintError } from '../errors.ts';
import type { Connect } from '../keys/remote-file.ts';
import { RemoteOutput } from '../keys/remote-output.ts';
import { type Login, withLoginConfig } from '../ssh-config/login-config.ts';
import { sshArguments, sshStatus, startProgram } from '../ssh-config/ssh-child.ts';
import { showInert } from './build-log.ts';

/** How long opening the session on the VM may take. */
const sessionMs = 120_000;
/** How long the script may run: it tries every way to arm the shutdown. */
const armMs = 60_000;

export type Arming =
  /** `by`: `systemd-run`, `shutdown` or `end-command`. */
  | { readonly kind: 'armed'; readonly by: string }
  /** Nothing is armed, and nothing has changed on the VM. */
  | { readonly kind: 'refused'; readonly error: MintError }
  /** The session ended before its answer: the end may be armed. */
  | { readonly kind: 'unknown'; readonly error: MintError };

export interface ArmOptions {
  readonly vm: string;
  readonly lease: string;
  /** From now to the end. */
  readonly seconds: number;
  /** What turns the machine off where neither systemd nor `shutdown` does; it runs there as root. */
  readonly endCommand: string | undefined;
}

/** No part of a session may come from the user's own config, and the VM's words go through the build log's filter. */
const sessionOptions = [
  '-T',
  '-a',
  '-x',
  ...['RemoteCommand=none', 'ClearAllForwardings=yes', 'ControlPath=none', 'BatchMode=yes'].flatMap(
    (option) => ['-o', option],
  ),
];

/** Calls `action` with a way to start a command in a session on the VM. @throws MintError as `withLoginConfig` */
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

/** Arms the end of the VM, in a session of its own. */
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
    error: new MintError('debug-unarmed', `${message} on ${vm}; nobody was authorized`, { hint }),
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
      "say what turns this machine off, as root: --end-command '/usr/sbin/poweroff'",
    );
  }
  const error = new MintError('io-failed', `the session on ${vm} ended while its end was being armed`);
  return { kind: 'unknown', error };
}

function noSession(vm: string): MintError {
  return new MintError('io-failed', `could not open an SSH session to ${vm}; nobody was authorized`, {
    hint: `what ssh said is above; \`mint-ssh ssh ${vm}\` shows whether a login works`,
  });
}

/**
 * In POSIX sh. Lines to us are `mint-debug-NONCE WORD …`, so that what a .bashrc prints is told from them. Without root
 * nothing is begun. The first of three ways that works counts: a timer of systemd's is exact; `shutdown` counts in
 * minutes, and keeps users out during its last five; the last is a process of root's that sleeps. Each is checked after it
 * was started.
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

/** The command for ssh, which every login shell reads alike, and what goes to its stdin. */
export interface RemoteProgram {
  readonly command: string;
  readonly input: Buffer;
}

/**
 * @param nonce 16 hexadecimal digits
 * @throws RangeError where anything but a number or a word of ours would become a part of the script
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
  // `dd` takes single bytes, so that it leaves what is behind the script to the script.
  const command = `exec sh -c 'eval "$(dd bs=1 count=${text.length} 2>/dev/null)"'`;
  return { command, input: Buffer.concat([text, data]) };
}
