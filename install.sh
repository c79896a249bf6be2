#!/bin/sh
# Installs mint-ssh from a release archive, or builds it from the checkout that contains this file. A checkout
# needs Node >= 20 and npm; the Node that builds and becomes part of the program is the one that
# package-lock.json pins. An archive needs only tar and gzip. mint-ssh itself runs with OpenSSH's client.
set -eu

usage() {
  cat <<'EOT'
usage: ./install.sh [--from FILE|URL] [--demo]
       ./install.sh --uninstall [--purge]

Installs PREFIX/bin/mint-ssh (PREFIX is ~/.local unless set), with its manual page, the completion for bash, zsh
and fish and the licences in PREFIX/share. Without --demo it needs no root and changes nothing else.

  --from FILE|URL  a release archive (.tar.gz), checked against the SHA256SUMS beside it;
                   without --from, it builds the checkout that contains install.sh
  --demo           afterwards runs `mint-ssh demo`: logins against a cloud inside the process. Where ssh is
                   missing, installs openssh-client first, as root or through sudo without a password
  --uninstall      stops the agent and removes what was installed; lists what stays, and why
  --purge          removes your settings, host keys and managed keys as well, after asking
EOT
}

fail() {
  printf 'install.sh: error: %s\n' "$1" >&2
  exit 1
}

wrong() {
  printf 'install.sh: error: %s\n' "$1" >&2
  usage >&2
  exit 2
}

from=
demo=no
uninstall=no
purge=no
while [ $# -gt 0 ]; do
  case $1 in
    --from)
      [ $# -gt 1 ] || wrong '--from wants a file or a URL'
      from=$2
      [ -n "$from" ] || wrong '--from wants a file or a URL'
      shift
      ;;
    --demo) demo=yes ;;
    --uninstall) uninstall=yes ;;
    --purge) purge=yes ;;
    -h | --help) usage; exit 0 ;;
    *) wrong "unknown option: $1" ;;
  esac
  shift
done

prefix=${PREFIX:-${HOME:?HOME is not set}/.local}
case $prefix in
  /*) ;;
  *) prefix=$PWD/$prefix ;;
esac
program=$prefix/bin/mint-ssh

# the files beside the program in an archive and in dist/, and where they are installed
beside='
mint-ssh.1 share/man/man1/mint-ssh.1
mint-ssh.bash share/bash-completion/completions/mint-ssh
mint-ssh.zsh share/zsh/site-functions/_mint-ssh
mint-ssh.fish share/fish/vendor_completions.d/mint-ssh.fish
LICENSE share/doc/mint-ssh/LICENSE
THIRD-PARTY-LICENSES.txt share/doc/mint-ssh/THIRD-PARTY-LICENSES.txt
'

# Folders that became empty go too, up to the prefix.
remove() {
  [ -e "$prefix/$1" ] || [ -L "$prefix/$1" ] || return 0
  rm -f "$prefix/$1"
  printf 'removed %s\n' "$prefix/$1"
  folder=$(dirname "$1")
  while [ "$folder" != . ] && rmdir "$prefix/$folder" 2>/dev/null; do
    folder=$(dirname "$folder")
  done
}

# A running agent would keep its keys, and a unit would start a program that is gone.
stop_agent() {
  [ -x "$program" ] || return 0
  for unit in "$HOME/.config/systemd/user/mint-ssh-agent.service" \
    "$HOME/Library/LaunchAgents/mint-ssh.agent.plist"; do
    if [ -f "$unit" ] && grep -qF "$program" "$unit"; then
      "$program" agent uninstall || fail "the agent's unit could not be removed: $unit"
      return 0
    fi
  done
  "$program" agent stop >/dev/null 2>&1 || fail "the agent could not be stopped; to see why: $program agent stop"
}

config=${MINT_CONFIG_DIR:-$HOME/.config/mint}

# What is in the configuration directory, and why it is left. --purge removes it.
kept='
ssh.toml your settings
approvals.json the VM names that you approved
hosts the pinned host keys
keys managed keys, which exist nowhere else
leases debug access that is still to end
audit.log the audit log
audit.log.1 the older audit log
'

# Only the program uses these. They stay where the Host blocks of another installation do.
remove_state() {
  [ ! -e "$config/ssh_config" ] || return 0
  for path in cache run jobs.json; do
    if [ -e "$config/$path" ] || [ -L "$config/$path" ]; then
      rm -rf "${config:?}/$path"
      printf 'removed %s\n' "$config/$path"
    fi
  done
  rmdir "$config" 2>/dev/null || true
}

left() {
  [ ! -e "$1" ] || printf 'left in place: %s (%s)\n' "$1" "$2"
}

list_left() {
  while read -r path what; do
    [ -z "$path" ] || left "$config/$path" "$what"
  done <<EOT
$kept
EOT
  left "$config/ssh_config" 'the Host blocks of another installation'
  left "$config/known_hosts" 'pinned host keys, shared with Mint'
  [ -z "${MINT_KEYS_DIR:-}" ] || left "$MINT_KEYS_DIR" 'managed keys, in a place of your own'
}

# Asks before anything is removed. Without agreement the program goes and the rest stays.
ask_purge() {
  found=
  while read -r path _; do
    if [ -n "$path" ] && [ -e "$config/$path" ]; then found="$found $path"; fi
  done <<EOT
$kept
EOT
  [ -n "$found" ] || return 0
  answer=
  if ! {
    printf 'in %s:%s\nRemove these for good, managed keys included? (yes/no) ' "$config" "$found" >/dev/tty
    read -r answer </dev/tty
  } 2>/dev/null; then
    fail '--purge asks first, and there is no terminal to ask on; nothing was removed'
  fi
  case $answer in
    yes | y) ;;
    *) found= ;;
  esac
}

purge_found() {
  for path in $found; do
    rm -rf "${config:?}/$path"
    printf 'removed %s\n' "$config/$path"
  done
}

if [ "$uninstall" = no ] && [ "$purge" = yes ]; then wrong '--purge goes with --uninstall'; fi
if [ "$uninstall" = yes ]; then
  if [ -n "$from" ] || [ "$demo" = yes ]; then wrong '--uninstall takes no other option but --purge'; fi
  blocks=$config/ssh_config
  if [ -f "$blocks" ] && grep -qF "ProxyCommand \"$program\"" "$blocks"; then
    fail "the Host blocks in $blocks run this program, and ssh would fail without it; first run: mint-ssh ssh-config --remove"
  fi
  found=
  [ "$purge" = no ] || ask_purge
  stop_agent
  remove bin/mint-ssh
  while read -r _ place; do
    [ -z "$place" ] || remove "$place"
  done <<EOT
$beside
EOT
  purge_found
  remove_state
  list_left
  exit 0
fi

umask 022
scratch=$(mktemp -d)
unfinished=
trap 'rm -rf "$scratch"; [ -z "$unfinished" ] || rm -f "$unfinished"' EXIT
trap 'exit 1' HUP INT TERM

step() {
  printf '%s …' "$1"
  shift
  "$@" >"$scratch/log" 2>&1 &
  job=$!
  # A dot every two seconds shows on a terminal that it goes on.
  while [ -t 1 ] && kill -0 "$job" 2>/dev/null; do
    sleep 2
    printf '.'
  done
  printf '\n'
  wait "$job" || {
    cat "$scratch/log" >&2
    fail "'$*' failed; what it said is above"
  }
}

sum_of() {
  if command -v sha256sum >/dev/null 2>&1; then
    sha256sum <"$1"
  elif command -v shasum >/dev/null 2>&1; then
    shasum -a 256 <"$1"
  else
    fail 'there is neither sha256sum nor shasum here: the archive cannot be checked'
  fi | cut -d ' ' -f 1
}

# Over plain http anyone on the way could change the archive and its sum together.
fetch() {
  case $1 in
    https://*) only='=https' ;;
    http://127.0.0.1[:/]* | http://localhost[:/]*) only='=http' ;;
    *) fail "only https:// URLs are fetched, and not $1" ;;
  esac
  command -v curl >/dev/null 2>&1 || fail 'there is no curl here: download the archive and its SHA256SUMS, and give --from FILE'
  printf 'fetching %s …\n' "$1"
  curl --fail --silent --show-error --location --proto "$only" --proto-redir "$only" --output "$2" -- "$1" ||
    fail "$1 could not be fetched"
}

# Brings the archive's files into $scratch/contents.
unpack() {
  name=${from##*/}
  case $name in
    mint-ssh-*.tar.gz) ;;
    *) fail "a release archive is called mint-ssh-VERSION-PLATFORM.tar.gz, and this one $name" ;;
  esac
  os=$(uname -s | tr '[:upper:]' '[:lower:]')
  case $(uname -m) in
    x86_64 | amd64) platform=$os-x64 ;;
    aarch64 | arm64) platform=$os-arm64 ;;
    *) platform=$os-$(uname -m) ;;
  esac
  case $name in
    *-"$platform".tar.gz) ;;
    *) fail "$name is for another machine: this one is $platform" ;;
  esac
  case $from in
    *://*)
      archive=$scratch/$name
      fetch "$from" "$archive"
      fetch "${from%/*}/SHA256SUMS" "$scratch/SHA256SUMS"
      sums=$scratch/SHA256SUMS
      ;;
    *)
      archive=$from
      sums=$(dirname "$from")/SHA256SUMS
      [ -f "$archive" ] || fail "there is no $archive"
      [ -f "$sums" ] || fail "there is no SHA256SUMS beside $archive: without it nothing tells what the archive should be"
      ;;
  esac
  expected=$(awk -v name="$name" '$2 == name || $2 == "*" name { print $1 }' "$sums")
  [ -n "$expected" ] || fail "SHA256SUMS has no line for $name"
  found=$(sum_of "$archive")
  [ "$found" = "$expected" ] || fail "$name is not what SHA256SUMS says: its sum is $found and not $expected"
  printf 'checked %s against SHA256SUMS\n' "$name"
  mkdir "$scratch/contents"
  tar -xzf "$archive" -C "$scratch/contents" || fail "$name could not be unpacked"
  contents=$scratch/contents/${name%.tar.gz}
}

# Copied beside and renamed: no process ever sees half a file, and a running mint-ssh keeps the one it was started from.
put() {
  mkdir -p "$(dirname "$2")"
  unfinished=$2.$$
  cp "$1" "$unfinished"
  chmod "$3" "$unfinished"
  [ "$3" != 755 ] || try
  mv -f "$unfinished" "$2"
  unfinished=
  printf 'installed %s\n' "$2"
}

# What does not run here replaces nothing.
try() {
  # macOS runs only signed programs; an ad-hoc signature is enough. The archive was made on another system.
  if [ "$(uname -s)" = Darwin ]; then
    codesign --force --sign - "$unfinished" >"$scratch/log" 2>&1 || {
      cat "$scratch/log" >&2
      fail 'codesign failed; what it said is above'
    }
  fi
  "$unfinished" --version >"$scratch/log" 2>&1 || {
    cat "$scratch/log" >&2
    fail 'the program does not run on this machine; what it said is above'
  }
}

has_ssh() {
  command -v ssh >/dev/null 2>&1
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

install_ssh() {
  if ! command -v apt-get >/dev/null 2>&1 || ! as_root true 2>/dev/null; then
    fail 'the demo needs ssh, which is not installed; first install openssh-client'
  fi
  step 'reading the lists of packages, because ssh is missing' as_root apt-get update -q
  step 'installing openssh-client' \
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends openssh-client
}

if [ "$demo" = yes ] && ! has_ssh; then install_ssh; fi

if [ -n "$from" ]; then
  unpack
else
  cd "$(dirname "$0")"
  [ -f package-lock.json ] || fail 'this is not a checkout: give --from with a release archive'
  command -v npm >/dev/null 2>&1 || fail 'npm is not there; install Node >= 20 with npm first'
  step 'installing the packages that package-lock.json pins' npm ci
  step 'building' npm run build
  contents=dist
fi

put "$contents/mint-ssh" "$program" 755
while read -r made place; do
  [ -z "$made" ] || put "$contents/$made" "$prefix/$place" 644
done <<EOT
$beside
EOT

if [ "$demo" = yes ]; then "$program" demo; fi
has_ssh || printf 'note: ssh is not installed; mint-ssh needs OpenSSH 8.4 or newer: install openssh-client\n'

# shellcheck disable=SC2016 # the user's shell expands these
case :$PATH: in
  *:"$prefix/bin":*) ;;
  *)
    printf 'note: %s is not on your PATH; add to your shell profile:\n' "$prefix/bin"
    printf '  export PATH="%s:$PATH"\n' "$prefix/bin"
    ;;
esac
# shellcheck disable=SC2016
case ${SHELL:-}:$prefix in
  */zsh:/usr | */zsh:/usr/local) ;;
  */zsh:*)
    printf 'note: for completion in zsh, add to ~/.zshrc before compinit:\n'
    printf '  fpath=("%s" $fpath)\n' "$prefix/share/zsh/site-functions"
    ;;
esac
