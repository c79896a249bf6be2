/**
 * A job's VM: a real sshd that was "booted" with the user data that `job begin` prints. What ends a machine
 * (systemd, shutdown, sudo) are programs of the test's own, which kill this sshd and its sessions and nothing else.
 *
 * The machine's real ones can never run: a session has ours in front of its PATH under every such name, and, where the
 * machine allows it, a mount namespace of its own in which the real files are ours too.
 */
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { killProcessesOf } from '../openssh/processes.ts';
import { freePort, loginUser, type Sshd, startSshd } from '../openssh/sshd.ts';
import { systemPath, testPath } from '../programs.ts';

/** Which program of the machine arms its end: `none` leaves `--end-command`. */
export type EndMode = 'systemd' | 'shutdown' | 'none';

export interface JobVm {
  readonly sshd: Sshd;
  readonly port: number;
  readonly home: string;
  /** What the programs that end it were called with, a line each. */
  calls(): string[];
  /** Whether an armed end powered it off. */
  isOff(): boolean;
  /** The lines of its authorized_keys. */
  authorizedKeys(): string[];
  setMode(mode: EndMode): void;
  /** The user: root by default, else a user with or without `sudo`. */
  setUser(kind: 'root' | 'sudoer' | 'nobody'): void;
  /** Stops it before the end is armed, or right after; undefined continues. */
  hang(at: 'stuck' | 'slow' | undefined): void;
  /** What every session writes to stderr at its beginning, as a visitor's .bashrc can. */
  setNoise(text: string): void;
  /** Whether it waits to arm, or has armed and waits. */
  isArmed(): boolean;
  /** Ends its time, so that the armed end takes effect. */
  letTimePass(): void;
  /** Turns it off at once, as a visitor or EC2 does. */
  powerOff(): void;
  /** Ends its sshd and every process that was started on it, as the end of a machine does. */
  end(): Promise<void>;
}

interface CloudConfig {
  readonly ssh_authorized_keys?: readonly string[];
  readonly users?: readonly (
    | string
    | { readonly name: string; readonly ssh_authorized_keys: readonly string[] }
  )[];
  readonly ssh_keys?: { readonly ed25519_private: string; readonly ed25519_public: string };
  readonly ssh_deletekeys?: boolean;
}

/** All programs that can end a machine, and `id` and `sudo`, which determine the rights. */
export const endings = [
  'systemctl',
  'systemd-run',
  'shutdown',
  'poweroff',
  'halt',
  'reboot',
  'init',
  'telinit',
  'sudo',
  'id',
];

export async function bootJobVm(directory: string, userData: string): Promise<JobVm> {
  if (!userData.startsWith('#cloud-config\n')) throw new Error(`no cloud-config: ${userData}`);
  const config = parse(userData) as CloudConfig;
  const [bin, home, state] = ['bin', 'home', 'state'].map((name) => join(directory, name)) as [
    string,
    string,
    string,
  ];
  for (const made of [directory, bin, home, state]) mkdirSync(made, { mode: 0o700 });
  mkdirSync(join(home, '.ssh'), { mode: 0o700 });
  const authorized = join(home, '.ssh', 'authorized_keys');
  writeFileSync(
    authorized,
    keysFor(config)
      .map((line) => `${line}\n`)
      .join(''),
    { mode: 0o600 },
  );
  const hostKey = join(directory, 'ssh_host_ed25519_key');
  if (config.ssh_keys !== undefined) {
    if (config.ssh_deletekeys !== true) throw new Error('the host keys of the image would stay');
    writeFileSync(hostKey, config.ssh_keys.ed25519_private, { mode: 0o600 });
    writeFileSync(`${hostKey}.pub`, `${config.ssh_keys.ed25519_public}\n`);
  }
  for (const name of endings) write(join(bin, name), fixture(name, state));
  write(join(bin, 'power-off'), powerOff(state));
  write(join(bin, 'power-off-later'), powerOffLater(state));
  write(join(directory, 'session'), session(bin, home));
  const sshd = await startSshd({
    directory: join(directory, 'sshd'),
    authorizedKeys: join(directory, 'none'),
    port: await freePort(),
    environment: { HOME: home, MINT_SSHD: directory },
    // cloud-init makes no other host keys if the user data has some.
    ...(config.ssh_keys === undefined ? {} : { hostKeyTypes: [] }),
    lines: [
      ...(config.ssh_keys === undefined ? [] : [`HostKey ${hostKey}`]),
      `AuthorizedKeysFile ${authorized}`,
      `PidFile ${join(state, 'sshd.pid')}`,
      `ForceCommand ${join(directory, 'session')}`,
    ],
  });
  const text = (name: string) =>
    existsSync(join(state, name)) ? readFileSync(join(state, name), 'utf8') : '';
  const lines = (content: string) => content.split('\n').filter((line) => line !== '');
  const vm: JobVm = {
    sshd,
    port: sshd.port,
    home,
    calls: () => lines(text('calls')),
    isOff: () => existsSync(join(state, 'off')),
    authorizedKeys: () => lines(readFileSync(authorized, 'utf8')),
    setMode: (mode) => writeFileSync(join(state, 'mode'), mode),
    setUser: (kind) => writeFileSync(join(state, 'user'), kind),
    hang(at) {
      for (const name of ['stuck', 'slow']) rmSync(join(state, name), { force: true });
      if (at !== undefined) writeFileSync(join(state, at), '');
    },
    setNoise: (text) => writeFileSync(join(state, 'noise'), text),
    isArmed: () => existsSync(join(state, 'armed')),
    letTimePass: () => writeFileSync(join(state, 'over'), ''),
    powerOff: () => void spawnSync(join(bin, 'power-off')),
    async end() {
      await sshd.stop({ sessions: true });
      killProcessesOf(`${directory}/`);
    },
  };
  vm.setMode('systemd');
  vm.setUser('root');
  return vm;
}

function keysFor({ ssh_authorized_keys: top = [], users = [] }: CloudConfig): readonly string[] {
  const own = users.flatMap((user) =>
    typeof user !== 'string' && user.name === loginUser ? user.ssh_authorized_keys : [],
  );
  return [...top, ...own];
}

function write(path: string, text: string): void {
  writeFileSync(path, text);
  chmodSync(path, 0o755);
}

/** Runs what the client asked for, with the VM's programs in front of the machine's own and in their place. */
function session(bin: string, home: string): string {
  const names = endings.filter((name) => name !== 'sudo' && name !== 'id');
  const places = systemPath.split(':').flatMap((at) => names.map((name) => `${at}/${name}`));
  const masks = places.map((path) => `[ ! -e ${path} ] || mount --bind ${bin}/halt ${path} || exit 98`);
  const run = `eval "\${SSH_ORIGINAL_COMMAND:-exec sh}"`;
  const namespace = namespaceFlag();
  return `#!/bin/sh
[ "$HOME" = '${home}' ] || exit 99
[ ! -e '${home}/../state/noise' ] || cat '${home}/../state/noise' >&2
PATH=${bin}:${testPath}; export PATH
${namespace === undefined ? run : `exec unshare ${namespace} sh -c '${masks.join('; ')}; ${run}'`}
`;
}

/** Undefined where the machine allows no mount namespaces. */
function namespaceFlag(): string | undefined {
  return ['-m', '-rm'].find(
    (flag) => spawnSync('unshare', [flag, 'mount', '-t', 'tmpfs', 'none', '/mnt']).status === 0,
  );
}

/** Records the name under which it is called, and does what its machine is set to. */
function fixture(name: string, state: string): string {
  const head = `#!/bin/sh
state='${state}'
mode=$(cat "$state/mode"); user=$(cat "$state/user")
`;
  const note = `printf '%s\\n' "${name} $*" >>"$state/calls"\n`;
  const later = (seconds: string) =>
    `setsid '${state}/../bin/power-off-later' "${seconds}" </dev/null >/dev/null 2>&1 &\n`;
  switch (name) {
    case 'id':
      return `${head}[ "$user" = root ] && [ "$*" = -u ] && { echo 0; exit; }\n[ "$*" = -u ] && { echo 1000; exit; }\nexec /usr/bin/id "$@"\n`;
    case 'sudo':
      return `${head}${note}[ "$user" = sudoer ] && [ "$1" = -n ] || exit 1\nshift\nexec "$@"\n`;
    case 'systemd-run':
      return `${head}${note}while [ -e "$state/stuck" ]; do sleep 0.1; done\n[ "$mode" = systemd ] || exit 1
for word; do case $word in --on-active=*) seconds=\${word#*=} ;; esac; done
: >"$state/armed"
${later('$seconds')}`;
    case 'systemctl':
      return `${head}${note}[ "$mode" = systemd ] || exit 1\n[ "$1" = is-active ] && [ -e "$state/armed" ] || exit 1
while [ -e "$state/slow" ]; do sleep 0.1; done\n`;
    case 'shutdown':
      // A minute of this machine's lasts as long as a test has.
      return `${head}${note}[ "$mode" = shutdown ] && [ "$1" = -P ] || exit 1\nminutes=\${2#+}\n${later('$((minutes * 4))')}`;
    default:
      return `${head}${note}exit 1\n`;
  }
}

/** Turns the machine off: kills sshd and all its children. */
function powerOff(state: string): string {
  return `#!/bin/sh
below() { for child in $(ps -o pid= --ppid "$1"); do echo "$child"; below "$child"; done; }
pid=$(cat '${state}/sshd.pid')
: >'${state}/off'
# By now the number may be another process's.
grep -q '${state.replace(/state$/, 'sshd')}' "/proc/$pid/cmdline" 2>/dev/null || exit 0
all=$(below "$pid")
kill -9 "$pid" $all
exit 0
`;
}

/** The VM's time passes normally, or at once if the test requests it. */
function powerOffLater(state: string): string {
  return `#!/bin/sh
end=$(($(date +%s) + $1))
while [ "$(date +%s)" -lt "$end" ] && [ ! -e '${state}/over' ] && [ -d '${state}' ]; do sleep 0.2; done
[ -d '${state}' ] || exit
exec '${state}/../bin/power-off'
`;
}
