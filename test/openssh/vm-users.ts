/**
 * Users that exist on one VM alone, as an image has `ubuntu` or `ec2-user`: the sshd runs in a mount namespace of its own,
 * in which /etc/passwd, /etc/group and /home are the test's. Only root may make one.
 */
import { chmodSync, chownSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export interface VmUser {
  /** Such as `ubuntu`. */
  readonly name: string;
  /** `/bin/bash` by default. */
  readonly shell?: string;
  /**
   * What the user's shell prints at each start, for a command too (`~/.bashrc`, which Debian's bash reads when sshd starts
   * it). Nothing by default.
   */
  readonly prints?: string;
}

/** A greeting with escape sequences, CR LF and text on stderr, as login scripts print them. */
export const greeting = '\x1b[1;32mWelcome to the VM\x1b[0m\r\n0 updates can be applied.\n';

/** Whether this process may make users for a VM. */
export const canMakeUsers = process.getuid?.() === 0;

const firstUid = 20_001;

/**
 * Makes the users' homes and the files of the namespace.
 * @returns the words that start a program among these users, to be put before its own
 * @throws where the tests do not run as root
 */
export function makeUsers(directory: string, users: readonly VmUser[]): string[] {
  if (!canMakeUsers) throw new Error('only root can make users for a VM');
  const homes = join(directory, 'home');
  mkdirSync(homes, { recursive: true });
  for (const path of [directory, homes]) chmodSync(path, 0o755);
  const passwd: string[] = [];
  const group: string[] = [];
  for (const [at, { name, shell = '/bin/bash', prints }] of users.entries()) {
    const uid = firstUid + at;
    passwd.push(`${name}:x:${uid}:${uid}:${name}:/home/${name}:${shell}`);
    group.push(`${name}:x:${uid}:`);
    const home = join(homes, name);
    mkdirSync(home, { mode: 0o750 });
    if (prints !== undefined) {
      const line = `printf %s ${quoted(prints)}; echo 'from the login script' >&2\n`;
      for (const file of ['.bashrc', '.profile']) writeFileSync(join(home, file), line);
    }
    chownSync(home, uid, uid);
  }
  const files = { passwd, group };
  for (const [name, lines] of Object.entries(files)) {
    // An account of the machine with the same name would come first.
    const own = readFileSync(`/etc/${name}`, 'utf8').split('\n');
    const names = users.map((user) => user.name);
    const kept = own.filter((line) => line !== '' && !names.includes(line.split(':')[0] ?? ''));
    writeFileSync(join(directory, name), `${[...kept, ...lines].join('\n')}\n`);
  }
  const script =
    'mount --bind "$1/passwd" /etc/passwd && mount --bind "$1/group" /etc/group && ' +
    'mount --bind "$1/home" /home && shift && exec "$@"';
  return ['unshare', '--mount', '--propagation', 'private', '/bin/sh', '-c', script, 'sh', directory];
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
