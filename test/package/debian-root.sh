#!/bin/sh
# Shows that a release works on a fresh Debian that has nothing but its base system and OpenSSH's client: no Node, no
# npm. Makes such a root by debootstrap, installs the archive and then the package in it, and runs the demo both times.
#
#     npm run prove:debian [-- RELEASE-FOLDER]     the folder that `npm run package` made; by default it is made again
#
# Needs root. Its mounts are in a namespace of its own, and vanish with it however it ends.
set -eu

[ "$(id -u)" = 0 ] || { echo 'debian-root.sh: needs root' >&2; exit 1; }
checkout=$(cd "$(dirname "$0")/../.." && pwd)
scratch=$(mktemp -d)
trap 'rm -rf --one-file-system "$scratch"' EXIT
trap 'exit 1' HUP INT TERM

release=${1:-}
if [ -z "$release" ]; then
  release=$scratch/release
  node "$checkout/build/package.ts" --target linux-x64 --output "$release"
fi

root=$scratch/root
echo 'making a fresh Debian root …'
debootstrap --variant=minbase --include=openssh-client bookworm "$root" >"$scratch/log" 2>&1 || {
  cat "$scratch/log" >&2
  exit 1
}
mkdir "$root/release"
cp "$release"/* "$root/release/"

cat >"$root/prove.sh" <<'EOT'
set -eu
cd /release
! command -v node >/dev/null && ! command -v npm >/dev/null
echo '--- the archive'
./install.sh --from mint-ssh-*-linux-x64.tar.gz --demo
"$HOME/.local/bin/mint-ssh" --version
./install.sh --uninstall
[ -z "$(find "$HOME/.local" -type f)" ]
echo '--- the package'
dpkg --install mint-ssh_*_amd64.deb
mint-ssh demo >/dev/null
mint-ssh --version
dpkg --purge mint-ssh
echo 'proven: both install and pass the demo on a fresh Debian without Node'
EOT

# shellcheck disable=SC2016
unshare --mount --pid --fork --kill-child sh -euc '
  mount -t proc proc "$1/proc"
  exec chroot "$1" env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 sh /prove.sh
' sh "$root"
