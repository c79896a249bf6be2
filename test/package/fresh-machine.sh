#!/bin/sh
# Shows that './install.sh --demo' and 'npm cit' pass as written on a fresh machine: a Debian 12 root made by debootstrap that
# has its base system, the Node and npm of this machine, and a fresh clone of this checkout's last commit. Both commands
# install what else they need through apt. Prints the time of each command.
#
#     npm run prove:fresh
#
# Needs root, debootstrap and git. Its mounts are in a namespace of their own, and end with it.
set -eu

[ "$(id -u)" = 0 ] || { echo 'fresh-machine.sh: needs root' >&2; exit 1; }
[ -n "${npm_execpath:-}" ] || { echo 'fresh-machine.sh: run it as: npm run prove:fresh' >&2; exit 1; }
checkout=$(cd "$(dirname "$0")/../.." && pwd)
scratch=$(mktemp -d)
trap 'rm -rf --one-file-system "$scratch"' EXIT
trap 'exit 1' HUP INT TERM

root=$scratch/root
echo 'making a fresh Debian root …'
debootstrap --variant=minbase --include=ca-certificates bookworm "$root" >"$scratch/log" 2>&1 || {
  cat "$scratch/log" >&2
  exit 1
}

# Node and npm, as their own installer would place them
modules=$root/usr/local/lib/node_modules
mkdir -p "$modules"
cp "$(readlink -f "${npm_node_execpath:?}")" "$root/usr/local/bin/node"
cp -a "$(dirname "$(dirname "$(readlink -f "$npm_execpath")")")" "$modules/npm"
ln -s ../lib/node_modules/npm/bin/npm-cli.js "$root/usr/local/bin/npm"

# the way to the network that this machine uses: name servers, mirrors, certificates and npm's registry
cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
[ ! -d /etc/apt/sources.list.d ] || cp -a /etc/apt/sources.list.d/. "$root/etc/apt/sources.list.d/"
cp -a /usr/share/keyrings/. "$root/usr/share/keyrings/"
cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
[ ! -e "$HOME/.npmrc" ] || cp "$HOME/.npmrc" "$root/root/.npmrc"

git clone --quiet --no-local "$checkout" "$root/root/mint-ssh"
echo "the commit is $(git -C "$root/root/mint-ssh" log -1 --format='%h %s')"

cat >"$root/prove.sh" <<'EOT'
set -eu
cd /root/mint-ssh
for program in ssh sshd git; do ! command -v $program >/dev/null || { echo "$program is here already"; exit 1; }; done
echo "node $(node --version), npm $(npm --version)"
for command in './install.sh --demo' 'npm cit'; do
  echo "--- $command"
  start=$(date +%s)
  $command
  echo "--- '$command' passed in $(($(date +%s) - start)) s"
done
EOT

# shellcheck disable=SC2016
unshare --mount --pid --fork --kill-child sh -euc '
  mount --make-rprivate /
  # The tests make mount namespaces of their own, which needs a root that is a mount point.
  mount --bind "$1" "$1"
  mount -t proc proc "$1/proc"
  mount --rbind /dev "$1/dev"
  mount --rbind /sys "$1/sys"
  exec chroot "$1" env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \
    ${https_proxy:+"https_proxy=$https_proxy"} NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt sh /prove.sh
' sh "$root"
