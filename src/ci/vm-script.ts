/**
 * What runs on the VM, in POSIX sh and the plainest tools. It is sent on stdin, in front of its data, and nothing
 * else of ours reaches a shell there but the end command that its author gave, at its time.
 */

/** All of it is ours, and checked before it is put in. */
export interface ArmOptions {
  /** Hexadecimal: marks our lines among what a .bashrc may print. */
  readonly nonce: string;
  readonly lease: string;
  /** From now to the end. */
  readonly seconds: number;
  /** What ends the machine where neither systemd nor `shutdown` is there to do it. */
  readonly endCommand: string | undefined;
}

/**
 * Lines to us are `mint-debug-NONCE WORD …`. Without root nothing is begun. Of the three ways the first that takes
 * counts: a timer of systemd's is exact and leaves no one waiting; `shutdown` counts in minutes, and keeps users out for its
 * last five; the last is a process of root's that sleeps. What is started is looked at before it is called armed.
 */
const arm = String.raw`
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

/**
 * Makes the command that the person inside ends it with, and says when that was used. It lives as long as the session
 * that runs it, and no longer than the lease.
 */
const watch = String.raw`
exec 2>/dev/null
LC_ALL=C; export LC_ALL
umask 077
tell() { printf 'mint-debug-%s %s\n' "$nonce" "$*"; }
tell hello
directory=$HOME/.mint-debug
mkdir "$directory"
[ -d "$directory" ] && [ ! -L "$directory" ] || { tell fail directory; exit 1; }
# Of a lease before this one on the same machine.
[ "$(cat "$directory/lease")" = "$lease" ] || rm -f "$directory/ended"
printf '%s\n' "$lease" >"$directory/lease"
cat >"$directory/end" <<'END'
: >"$HOME/.mint-debug/ended" && echo 'debug access ends: this machine is destroyed in a moment'
END
[ -f "$directory/end" ] || { tell fail directory; exit 1; }
tell watching
while [ "$seconds" -gt 0 ]; do
  [ ! -e "$directory/ended" ] || { tell ended; exit 0; }
  sleep 1
  seconds=$((seconds - 1))
  [ $((seconds % 15)) != 0 ] || tell alive
done
`;

/** What a person inside types. */
export const endInside = 'sh ~/.mint-debug/end';

/** The command for ssh, the same for every login shell, and what goes to its stdin. */
export interface RemoteProgram {
  readonly command: string;
  readonly input: Buffer;
}

export function armProgram({ nonce, lease, seconds, endCommand = '' }: ArmOptions): RemoteProgram {
  const data = Buffer.from(endCommand);
  return program(`${head({ nonce, lease, seconds })} size=${data.length}\n${arm}`, data);
}

export function watchProgram(options: Pick<ArmOptions, 'nonce' | 'lease' | 'seconds'>): RemoteProgram {
  return program(`${head(options)}\n${watch}`, Buffer.alloc(0));
}

function head({ nonce, lease, seconds }: Pick<ArmOptions, 'nonce' | 'lease' | 'seconds'>): string {
  if (!/^[0-9a-f]{16}$/.test(nonce) || !/^[0-9a-f]{12}$/.test(lease) || !Number.isSafeInteger(seconds)) {
    throw new RangeError(nonce);
  }
  return `nonce=${nonce} lease=${lease} seconds=${seconds}`;
}

/** `dd` takes single bytes, so that not one of the data behind the script is swallowed. */
function program(text: string, data: Buffer): RemoteProgram {
  const script = Buffer.from(text);
  const command = `exec sh -c 'eval "$(dd bs=1 count=${script.length} 2>/dev/null)"'`;
  return { command, input: Buffer.concat([script, data]) };
}
