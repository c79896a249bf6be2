#!/bin/sh
# Checks that the programs the tests run are here, and installs what is missing through the platform's
# package manager where it may; else it stops and names what is missing. Says nothing where all is there.
set -eu

# sshd and others live where a user's PATH may not reach.
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

# command, or path of what is no command, and the Debian package that has it
table='
sshd openssh-server
ssh openssh-client
ssh-keygen openssh-client
ssh-add openssh-client
ssh-agent openssh-client
scp openssh-client
sftp openssh-client
rsync rsync
git git
bash bash
busybox busybox
mount mount
groff groff-base
faketime faketime
ps procps
script bsdutils
setsid util-linux
unshare util-linux
pgrep procps
dbclient dropbear-bin
plink putty-tools
pscp putty-tools
autossh autossh
mosh-server mosh
mosh-client mosh
sshfs sshfs
fusermount3 fuse3
ansible ansible-core
curl curl
age age
openssl openssl
socat socat
/usr/bin/python3 python3
/usr/lib/python3/dist-packages/paramiko python3-paramiko
/usr/lib/python3/dist-packages/asyncssh python3-asyncssh
/usr/share/doc/libssh-4 libssh-4
/usr/lib/python3/dist-packages/yaml python3-yaml
/usr/lib/python3/dist-packages/jsonschema python3-jsonschema
/usr/lib/python3/dist-packages/jsonpatch.py python3-jsonpatch
/usr/lib/python3/dist-packages/requests python3-requests
/usr/lib/python3/dist-packages/configobj python3-configobj
/usr/lib/python3/dist-packages/oauthlib python3-oauthlib
systemd-analyze systemd
/usr/lib/systemd/systemd systemd
setpriv util-linux
shellcheck shellcheck
'

is_here() {
  case $1 in
    /*) [ -e "$1" ] ;;
    *) command -v "$1" >/dev/null 2>&1 ;;
  esac
}

missing() {
  echo "$table" | while read -r command package; do
    [ -z "$command" ] || is_here "$command" || echo "$1" | sed "s|C|$command|;s|P|$package|"
  done | sort -u | tr '\n' ' '
}

stop() {
  echo "test/prepare.sh: the tests need these programs: $(missing C)" >&2
  echo "test/prepare.sh: $1" >&2
  exit 1
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

packages=$(missing P)
if [ -n "$packages" ]; then
  command -v apt-get >/dev/null 2>&1 || stop 'there is no apt-get here: install them and run again'
  as_root true 2>/dev/null || stop "no right to install them: apt-get install $packages"
  echo "test/prepare.sh: installing $packages" >&2
  as_root apt-get update -q >&2 || stop 'apt-get update failed'
  # A server that is installed for the tests need not be started.
  # shellcheck disable=SC2086
  as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
    apt-get install -q -y --no-install-recommends $packages >&2 || stop 'apt-get install failed'
  [ -z "$(missing P)" ] || stop 'they are still missing after apt-get install'
fi

# sshd run by root wants its empty directory, which a container's start-up may not have made.
if [ "$(id -u)" = 0 ] && [ ! -d /run/sshd ]; then
  mkdir -p /run/sshd
  chmod 755 /run/sshd
fi

# Debian's JSch is an old one: where there is a JDK, Maven fetches the maintained one, and else its test says so.
if command -v mvn >/dev/null 2>&1 && command -v javac >/dev/null 2>&1 &&
  [ ! -e "$HOME/.m2/repository/com/github/mwiede/jsch/0.2.23/jsch-0.2.23.jar" ]; then
  timeout 120 mvn -q -B dependency:get -Dtransitive=false -Dartifact=com.github.mwiede:jsch:0.2.23 >&2 ||
    echo 'test/prepare.sh: JSch could not be fetched' >&2
fi

# cloud-init is unpacked and never installed: on a machine that boots with it, it would take that machine in hand.
unpacked=node_modules/.cache/cloud-init
if command -v apt-get >/dev/null 2>&1 && [ ! -e "$unpacked/usr/bin/cloud-init" ]; then
  mkdir -p "$unpacked"
  (cd "$unpacked" && apt-get download -q cloud-init >/dev/null 2>&1 ||
    { as_root apt-get update -q >/dev/null 2>&1 && apt-get download -q cloud-init >/dev/null 2>&1; }) &&
    dpkg-deb -x "$unpacked"/cloud-init_*.deb "$unpacked" ||
    echo 'test/prepare.sh: cloud-init could not be fetched' >&2
fi
