#!/bin/sh
# The npm package's program: runs start.cjs in Node. It prefers the Node in which `mint-ssh setup`, `ssh-config` or
# `agent install` last ran (start.cjs records it), because an editor may start ssh with a PATH that has no Node or an
# older one. Then come the Node that npm belongs to and the one in PATH.
bin=${0%/*}
if [ -L "$0" ]; then bin=$(dirname "$(readlink -f -- "$0")"); fi
config=${MINT_CONFIG_DIR:-${HOME-}/.config/mint}
previous=
# The agent is started with this option and without the variable.
for word in "$@"; do
  if [ "$previous" = --config-dir ]; then config=$word; fi
  previous=$word
done
recorded=
record=$config/node
if [ -r "$record" ]; then IFS= read -r recorded <"$record"; fi

fail() {
  printf 'mint-ssh: error: %s (io-failed)\nmint-ssh: hint: %s\n' "$1" "$2" >&2
  exit 1
}

node=
for candidate in "$recorded" "$bin/../../../../bin/node" "$(command -v node)"; do
  if [ -f "$candidate" ] && [ -x "$candidate" ]; then node=$candidate && break; fi
done
remedy='install Node.js 22.14 or newer, then run once in your shell: mint-ssh ssh-config'
if [ -z "$node" ] && [ -n "$recorded" ]; then fail "$recorded is gone, and PATH has no node" "$remedy"; fi
if [ -z "$node" ]; then fail 'PATH has no node' "$remedy"; fi
if [ "$node" != "$recorded" ]; then
  version=$("$node" --version) || fail "$node does not run" "$remedy"
  major=${version#v}
  if [ "${major%%.*}" -lt 22 ]; then fail "$node is $version" "$remedy"; fi
fi
exec "$node" --disable-sigusr1 --max-semi-space-size=1 --v8-pool-size=1 --disable-warning=ExperimentalWarning \
  "$bin/start.cjs" "$@"
