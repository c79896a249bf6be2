/**
 * The script that runs on the VM: POSIX sh and basic tools, for dash, bash and busybox. It only transfers bytes; this side
 * parses the file and decides about it.
 *
 * The script is sent on stdin, followed by the data. The shell on the VM interprets nothing else of ours: it reads the
 * data as bytes (`cat`) or as one number.
 */

/** The values that are inserted into the script. They come from mint-ssh and are checked first. */
export interface ScriptOptions {
  /** Hexadecimal. Names temporary files, and marks the script's lines among other output. */
  readonly nonce: string;
  /** `change` creates missing files and takes the lock; `look` changes nothing. */
  readonly mode: 'look' | 'change' | 'remove';
  /** The lifetime of the key; 0 for no expiry. */
  readonly seconds: number;
}

/**
 * The command for ssh to run, which works in every login shell (csh and fish too), and the script for its stdin. `dd`
 * reads single bytes, so that it does not consume data after the script.
 */
export function remoteCommand(options: ScriptOptions): { readonly command: string; readonly script: Buffer } {
  const script = Buffer.from(scriptText(options));
  const command = `exec sh -c 'eval "$(dd bs=1 count=${script.length} 2>/dev/null)"'`;
  return { command, script };
}

function scriptText({ nonce, mode, seconds }: ScriptOptions): string {
  if (!/^[0-9a-f]{16}$/.test(nonce) || !Number.isSafeInteger(seconds)) throw new RangeError(nonce);
  return `nonce=${nonce} mode=${mode} seconds=${seconds}\n${body}`;
}

/**
 * The script prints lines `mint-key-NONCE WORD …`. It uses the system's time zone, as sshd does, and not one that a .bashrc
 * sets. The lock is a directory, because mkdir is atomic everywhere, NFS included. A lock older than five minutes belongs
 * to a script that was killed: the script ends within one minute. Other programs ignore the lock, so the file is compared
 * again before it is replaced. If mkdir fails although no lock exists, the lock was removed just now, or (if that repeats)
 * the directory is not writable.
 */
const body = String.raw`
exec 2>/dev/null
LC_ALL=C; export LC_ALL
unset TZ
umask 077
held= old= new=
tell() { printf 'mint-key-%s %s\n' "$nonce" "$*"; }
fail() { tell fail "$(printf '%s' "$*" | tr '\n' ' ')"; exit 1; }
clean() {
  [ -z "$old" ] || rm -f "$old" "$new"
  [ -z "$held" ] || rmdir "$lock"
}
trap clean EXIT
trap 'exit 1' HUP INT TERM PIPE
attributes() { ls -ldn "$1" | { read -r modes links user group rest; printf '%.10s %s %s' "$modes" "$user" "$group"; }; }
size() { printf %s "$(($(wc -c <"$1")))"; }
tell hello

[ -n "$HOME" ] || fail home
directory=$HOME/.ssh
if [ ! -d "$directory" ]; then
  [ "$mode" = change ] || { tell absent; exit 0; }
  problem=$(mkdir "$directory" 2>&1) || [ -d "$directory" ] || fail directory "$problem"
fi
file=$directory/authorized_keys
if [ -L "$file" ]; then
  file=$(readlink -f "$file") && [ -f "$file" ] || fail link
  directory=$(dirname "$file")
fi
[ -f "$file" ] || [ ! -e "$file" ] || fail kind

if [ "$mode" != look ]; then
  lock=$directory/.authorized_keys.lock tries=0 vain=0
  until problem=$(mkdir "$lock" 2>&1); do
    if [ ! -d "$lock" ]; then
      vain=$((vain + 1))
      [ $vain -lt 20 ] || fail write "$problem"
      continue
    fi
    tries=$((tries + 1)) vain=0
    [ $tries -lt 150 ] || fail busy "$lock"
    [ -z "$(find "$lock" -prune -mmin +5)" ] || rmdir "$lock"
    sleep 0.2 || sleep 1
  done
  held=yes
fi

expiry=-
if [ "$seconds" -gt 0 ]; then
  end=$(($(date +%s) + seconds)) || fail date
  expiry=$(date -d "@$end" +%Y%m%d%H%M%S) || expiry=$(date -r "$end" +%Y%m%d%H%M%S) || fail date
fi
clock="$(date +%Y%m%d%H%M%S) $(date -u +%Y%m%d%H%M%S) $expiry"

if [ ! -f "$file" ]; then
  there=
  tell file 0 "$clock"
elif [ "$mode" = look ]; then
  [ -r "$file" ] || fail read
  tell file "$(size "$file")" "$clock"
  cat "$file"
else
  there=yes
  [ -r "$file" ] || fail read
  old=$directory/.authorized_keys.$nonce.old new=$directory/.authorized_keys.$nonce
  problem=$(cp -p "$file" "$old" 2>&1) || fail write "$problem"
  tell file "$(size "$old")" "$clock"
  cat "$old"
fi
[ "$mode" != look ] || exit 0

IFS=' ' read -r word bytes || exit 1
[ "$word" = put ] || { tell kept; exit 0; }
if [ -n "$there" ]; then
  problem=$(cp -p "$file" "$new" 2>&1) || fail write "$problem"
  [ "$(attributes "$file")" = "$(attributes "$new")" ] || fail owner
else
  old=$directory/.authorized_keys.$nonce.old new=$directory/.authorized_keys.$nonce
fi
problem=$(cat 2>&1 >"$new") || fail write "$problem"
[ "$(size "$new")" = "$bytes" ] || fail short
sync "$new" || sync
if [ -n "$there" ]; then
  cmp -s "$file" "$old" || { tell changed; exit 0; }
else
  [ ! -e "$file" ] || { tell changed; exit 0; }
fi
problem=$(mv -f "$new" "$file" 2>&1) || fail write "$problem"
sync "$directory"
tell done
`;
