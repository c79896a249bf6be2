#!/bin/sh
# Builds mint-ssh from this checkout and installs it. Needs Node >= 20 and npm to begin with; the Node that
# builds and becomes part of the program is the one package-lock.json pins.
set -eu

usage() {
  cat <<'EOF'
usage: ./install.sh [--demo] [--uninstall]

Builds mint-ssh and installs it as PREFIX/bin/mint-ssh (PREFIX is ~/.local unless set), with its manual page and
the completion for bash, zsh and fish in PREFIX/share. No root needed.

  --demo       afterwards runs `mint-ssh demo`: logins against a cloud inside the process
  --uninstall  removes what was installed
EOF
}

fail() {
  printf 'install.sh: error: %s\n' "$1" >&2
  exit 1
}

demo=no
uninstall=no
for word in "$@"; do
  case $word in
    --demo) demo=yes ;;
    --uninstall) uninstall=yes ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
  esac
done

prefix=${PREFIX:-${HOME:?HOME is not set}/.local}
program=$prefix/bin/mint-ssh

# what the build makes, and where shells and man look for it
beside='
mint-ssh.1 share/man/man1/mint-ssh.1
mint-ssh.bash share/bash-completion/completions/mint-ssh
mint-ssh.zsh share/zsh/site-functions/_mint-ssh
mint-ssh.fish share/fish/vendor_completions.d/mint-ssh.fish
'

if [ "$uninstall" = yes ]; then
  rm -f "$program"
  echo "$beside" | while read -r _ place; do
    [ -z "$place" ] || rm -f "$prefix/$place"
  done
  printf 'removed %s, its manual page and its completions\n' "$program"
  printf 'the Include in ~/.ssh/config, if there is one, goes with: mint-ssh ssh-config --remove\n'
  exit 0
fi

cd "$(dirname "$0")"
command -v npm >/dev/null 2>&1 || fail 'npm is not there; install Node >= 20 with npm first'

log=$(mktemp)
trap 'rm -f "$log" "${unfinished:-}"' EXIT
step() {
  printf '%s …\n' "$1"
  shift
  "$@" >"$log" 2>&1 || {
    cat "$log" >&2
    fail "'$*' failed; what it said is above"
  }
}

step 'installing the packages that package-lock.json pins' npm ci
step 'building' npm run build

mkdir -p "$prefix/bin"
# Beside it and renamed: a running mint-ssh keeps the file it was started from.
unfinished=$program.$$
cp dist/mint-ssh "$unfinished"
chmod 755 "$unfinished"
mv -f "$unfinished" "$program"
echo "$beside" | while read -r made place; do
  [ -n "$made" ] || continue
  mkdir -p "$(dirname "$prefix/$place")"
  cp "dist/$made" "$prefix/$place"
  chmod 644 "$prefix/$place"
done
printf 'installed %s\n' "$program"

if [ "$demo" = yes ]; then
  command -v ssh >/dev/null 2>&1 || fail "the demo runs this machine's own ssh, which is not there: install openssh-client"
  "$program" demo
fi

case :$PATH: in
  *:"$prefix/bin":*) ;;
  *) printf 'note: %s is not on your PATH\n' "$prefix/bin" ;;
esac
