/**
 * Every program and every file of the machine that the tests use, with the Debian package it comes from.
 *
 * `test/prepare.ts` installs what is missing. `test/run.ts` gives the tests a PATH that holds these programs and no other,
 * so that a test that uses an undeclared one fails on every machine.
 */
import { accessSync, constants, existsSync, mkdirSync, realpathSync, statSync, symlinkSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';

/** Programs of a Debian base system, by package. */
export const baseProgramsByPackage: Readonly<Record<string, readonly string[]>> = {
  bash: ['bash'],
  coreutils: [
    ...[
      'base64',
      'basename',
      'cat',
      'chgrp',
      'chmod',
      'chown',
      'cksum',
      'cp',
      'cut',
      'date',
      'dd',
      'dirname',
      'echo',
    ],
    ...[
      'env',
      'expr',
      'false',
      'head',
      'id',
      'install',
      'ln',
      'ls',
      'mkdir',
      'mkfifo',
      'mktemp',
      'mv',
      'nice',
      'nohup',
    ],
    ...[
      'od',
      'printenv',
      'printf',
      'pwd',
      'readlink',
      'realpath',
      'rm',
      'rmdir',
      'seq',
      'sha256sum',
      'sleep',
      'sort',
    ],
    ...[
      'stat',
      'stty',
      'sync',
      'tail',
      'tee',
      'test',
      'timeout',
      'touch',
      'tr',
      'true',
      'tty',
      'uname',
      'uniq',
      'wc',
    ],
    ...['who', 'whoami', 'yes'],
  ],
  dash: ['sh', 'dash'],
  debianutils: ['which'],
  diffutils: ['cmp', 'diff'],
  dpkg: ['dpkg', 'dpkg-deb', 'dpkg-query', 'dpkg-split', 'start-stop-daemon'],
  findutils: ['find', 'xargs'],
  grep: ['grep'],
  gzip: ['gzip'],
  hostname: ['hostname'],
  'libc-bin': ['getconf', 'getent', 'iconv', 'ldconfig', 'ldd', 'locale'],
  mawk: ['awk'],
  mount: ['mount', 'umount'],
  sed: ['sed'],
  tar: ['tar'],
  'util-linux': ['flock', 'logger', 'prlimit', 'setpriv', 'setsid', 'unshare'],
};

/** Programs that the tests need beside the base system, by package. */
export const programsByPackage: Readonly<Record<string, readonly string[]>> = {
  age: ['age', 'age-keygen'],
  'ansible-core': ['ansible'],
  autossh: ['autossh'],
  binutils: ['strip'],
  bsdutils: ['script'],
  busybox: ['busybox'],
  curl: ['curl'],
  'dropbear-bin': ['dbclient', 'dropbear', 'dropbearkey'],
  faketime: ['faketime'],
  fish: ['fish'],
  fuse3: ['fusermount3'],
  git: ['git', 'git-receive-pack', 'git-upload-pack'],
  'groff-base': ['groff', 'grotty', 'preconv', 'tbl', 'troff'],
  mosh: ['mosh-client', 'mosh-server'],
  'openssh-client': ['scp', 'sftp', 'ssh', 'ssh-add', 'ssh-agent', 'ssh-keygen', 'ssh-keyscan'],
  'openssh-server': ['sshd'],
  openssl: ['openssl'],
  procps: ['pgrep', 'ps'],
  'putty-tools': ['plink', 'pscp', 'puttygen'],
  'qemu-user': ['qemu-aarch64'],
  rsync: ['rsync'],
  shellcheck: ['shellcheck'],
  socat: ['socat'],
  sshfs: ['sshfs'],
  tmux: ['tmux'],
  systemd: ['systemd-analyze'],
  zsh: ['zsh'],
};

/** What `faketime` preloads into a program, to move its clocks. */
export const libfaketime = `/usr/lib/${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu/faketime/libfaketime.so.1`;

/** Files and folders that the tests name by their path. `test/undeclared.ts` finds those that are missing here. */
export const pathsByPackage: Readonly<Record<string, readonly string[]>> = {
  bash: ['/bin/bash'],
  coreutils: ['/bin/cat', '/bin/echo', '/bin/false', '/bin/true', '/usr/bin/id', '/usr/bin/touch'],
  dash: ['/bin/sh'],
  libfaketime: [libfaketime],
  'libc6-arm64-cross': ['/usr/aarch64-linux-gnu'],
  'libgcc-s1-arm64-cross': ['/usr/aarch64-linux-gnu/lib/libgcc_s.so.1'],
  'libstdc++6-arm64-cross': ['/usr/aarch64-linux-gnu/lib/libstdc++.so.6'],
  'libssh-4': ['/usr/share/doc/libssh-4'],
  'openssh-client': ['/usr/bin/ssh'],
  'openssh-server': ['/usr/sbin/sshd'],
  'openssh-sftp-server': ['/usr/lib/openssh/sftp-server'],
  python3: ['/usr/bin/python3'],
  'python3-asyncssh': ['/usr/lib/python3/dist-packages/asyncssh'],
  'python3-configobj': ['/usr/lib/python3/dist-packages/configobj'],
  'python3-jsonpatch': ['/usr/lib/python3/dist-packages/jsonpatch.py'],
  'python3-jsonschema': ['/usr/lib/python3/dist-packages/jsonschema'],
  'python3-oauthlib': ['/usr/lib/python3/dist-packages/oauthlib'],
  'python3-paramiko': ['/usr/lib/python3/dist-packages/paramiko'],
  'python3-requests': ['/usr/lib/python3/dist-packages/requests'],
  'python3-yaml': ['/usr/lib/python3/dist-packages/yaml'],
  systemd: ['/usr/lib/systemd/systemd'],
  'util-linux': ['/usr/bin/prlimit'],
};

/** What the slow tier needs beside all of this, by package: a JDK is larger than all others together. */
export const slowProgramsByPackage: Readonly<Record<string, readonly string[]>> = {
  'default-jdk-headless': ['java', 'javac'],
  maven: ['mvn'],
};

const slowPathsByPackage: Readonly<Record<string, readonly string[]>> = {
  'python3-venv': ['/usr/share/python-wheels'],
};

/** Node's own, which the checkout or the machine brings. */
const nodePrograms: readonly string[] = ['node', 'npm'];

export const declaredPrograms: readonly string[] = [
  ...Object.values(baseProgramsByPackage).flat(),
  ...Object.values(programsByPackage).flat(),
];

/** The PATH of a Debian system for root, which is also that of a session on a VM of the tests. */
export const systemPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** The PATH for programs that a test starts: the runner's, where the runner started the test. */
export const testPath = process.env['PATH'] ?? systemPath;

/**
 * The path of a declared program, for a script that replaces it in a PATH and calls it.
 * @throws where the tests' PATH does not have it
 */
export function programFile(name: string): string {
  const path = testPath
    .split(delimiter)
    .map((folder) => join(folder, name))
    .find(isProgram);
  if (path === undefined) throw new Error(`${name} is not among the programs of test/programs.ts`);
  return path;
}

/**
 * What is declared and missing on this machine: the program or path, and its package.
 * @param options `slow`: also what only the slow tier needs
 */
export function missingPrograms({
  slow = false,
} = {}): { readonly what: string; readonly package: string }[] {
  const programs = [baseProgramsByPackage, programsByPackage, slow ? slowProgramsByPackage : {}].flatMap(
    entries,
  );
  const paths = [pathsByPackage, slow ? slowPathsByPackage : {}].flatMap(entries);
  return [
    ...programs.filter(({ what }) => findProgram(what) === undefined),
    ...paths.filter(({ what }) => !existsSync(what)),
  ];
}

function entries(table: Readonly<Record<string, readonly string[]>>): { what: string; package: string }[] {
  return Object.entries(table).flatMap(([name, all]) => all.map((what) => ({ what, package: name })));
}

/**
 * Fills a folder with links to the declared programs.
 * @param without programs to leave out, to see which tests use them
 */
export function linkPrograms(directory: string, without: readonly string[] = []): void {
  mkdirSync(directory, { recursive: true });
  const slowPrograms = Object.values(slowProgramsByPackage).flat();
  for (const name of [...declaredPrograms, ...slowPrograms, ...nodePrograms]) {
    const path = name === 'node' ? realpathSync(process.execPath) : findProgram(name);
    if (path !== undefined && !without.includes(name)) symlinkSync(path, join(directory, name));
  }
}

/** The program's path. The system's own folders come first, so that a user's version manager does not take part. */
function findProgram(name: string): string | undefined {
  const folders = [...systemPath.split(':'), ...(process.env['PATH'] ?? '').split(delimiter)];
  return folders.map((folder) => join(folder, name)).find(isProgram);
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile() && dirname(path) !== '.';
  } catch {
    return false;
  }
}
