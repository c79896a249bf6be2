/**
 * The first day of a user: an unprivileged account with an empty home, a tmux of 80 columns, and a stand-in account with
 * three ordinary EC2 instances (Name tags, sshd on port 22, the users of their images). From the installed program to three
 * logins, by `mint-ssh setup` and by hand. Needs root, for users and port 22.
 */
import { randomBytes } from 'node:crypto';
import { chmodSync, chownSync, copyFileSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { demoRegion } from '../cloud/cloud.ts';
import { oldConsole } from '../cloud/console.ts';
import { waitFor } from '../openssh/child.ts';
import { startSshd } from '../openssh/sshd.ts';
import { makeUsers } from '../openssh/vm-users.ts';
import { makeWorld, type Sshd, type World } from '../openssh/world.ts';

export const columns = 80;
const limitMs = 120_000;
const user = { name: 'anna', uid: 20_001 };

const machines = {
  build: {
    ...{ address: '127.0.0.91', user: 'ubuntu', owner: '099720109477' },
    image: 'ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-20250305',
  },
  data: {
    ...{ address: '127.0.0.92', user: 'ec2-user', owner: '137112412989' },
    image: 'al2023-ami-2023.6.20250303.0-kernel-6.1-x86_64',
  },
  dev: {
    ...{ address: '127.0.0.93', user: 'admin', owner: '136693071363' },
    image: 'debian-12-amd64-20250316-2053',
  },
} as const;

const vms = Object.keys(machines) as (keyof typeof machines)[];

/** What one way to three logins took. */
export interface Way {
  /** Commands, as they were typed. */
  readonly commands: readonly string[];
  /** What each login printed: the user on the VM. */
  readonly logins: readonly string[];
  /** From the first key pressed to the end of the third login. */
  readonly seconds: number;
}

export interface FirstDay {
  readonly setup: Way;
  readonly byHand: Way;
  /** What the terminal showed, by name; a line that was too long for it is one line here. */
  readonly captures: Readonly<Record<string, string>>;
}

export async function runFirstDay(): Promise<FirstDay> {
  const world = await makeWorld({ vms: {}, emptyAccount: true, withoutSshConfig: true });
  const sshds: Sshd[] = [];
  let terminal: Terminal | undefined;
  try {
    chmodSync(world.directory, 0o755);
    for (const name of vms) sshds.push(await startMachine(world, name));
    terminal = await startTerminal(world);
    const setup = await bySetup(terminal);
    const captures: Record<string, string> = { setup: terminal.capture() };
    await startOver(terminal);
    const byHand = await byTheHand(terminal);
    captures['by hand'] = terminal.capture();

    await terminal.run('clear; mint-ssh vms');
    captures['vms'] = terminal.capture();
    await terminal.type('clear; mint-ssh', /Enter connects/);
    captures['picker'] = terminal.capture();
    await terminal.keys(['q']);
    await sshds[1]?.stop({ sessions: true });
    await terminal.run('clear; mint-ssh doctor data');
    captures['doctor'] = terminal.capture();
    await sshds[0]?.replaceHostKey();
    await terminal.type('clear; ssh build', /continue connecting/);
    captures['warning'] = terminal.capture();
    await terminal.keys(['no', 'Enter']);
    await terminal.prompted();
    return { setup, byHand, captures };
  } finally {
    await terminal?.end();
    for (const sshd of sshds) await sshd.stop({ sessions: true });
    await world.end();
  }
}

async function startMachine({ cloud, directory }: World, name: keyof typeof machines): Promise<Sshd> {
  const { address, user: login, image, owner } = machines[name];
  const id = `i-${randomBytes(9).toString('hex').slice(1)}`;
  const ami = `ami-${randomBytes(9).toString('hex').slice(1)}`;
  cloud.images.set(ami, { name: image, owner });
  cloud.instances.set(id, {
    ...{ id, region: demoRegion, state: 'running', address, image: ami, tags: { Name: name } },
    console: { text: oldConsole(), at: Date.now() },
  });
  return await startSshd({
    ...{ directory: join(directory, `vm-${name}`), authorizedKeys: join(directory, 'keys', id) },
    ...{ address, port: 22, users: [{ name: login }] },
  });
}

async function bySetup(terminal: Terminal): Promise<Way> {
  const start = performance.now();
  await terminal.type('mint-ssh setup', /Space marks/);
  await terminal.keys(['a', 'Enter'], /Write this\? \(yes\/no\)\s*$/);
  await terminal.keys(['yes', 'Enter']);
  await terminal.prompted();
  const commands = ['mint-ssh setup'];
  return await loginToAll(terminal, { start, commands });
}

async function byTheHand(terminal: Terminal): Promise<Way> {
  const start = performance.now();
  const commands = ['mint-ssh vms', `mint-ssh ssh-config ${vms.join(' ')}`];
  await terminal.run(commands[0] ?? '');
  await terminal.type(commands[1] ?? '', /\(yes\/no\)\s*$/);
  await terminal.keys(['yes', 'Enter']);
  await terminal.prompted();
  return await loginToAll(terminal, { start, commands });
}

async function loginToAll(
  terminal: Terminal,
  { start, commands }: { readonly start: number; readonly commands: readonly string[] },
): Promise<Way> {
  const logins: string[] = [];
  const all = [...commands];
  for (const name of vms) {
    const command = `ssh ${name} whoami`;
    all.push(command);
    const status = await terminal.run(command);
    logins.push(status === 0 ? (terminal.capture().split('\n').at(-3) ?? '') : `status ${status}`);
  }
  return { commands: all, logins, seconds: (performance.now() - start) / 1000 };
}

async function startOver(terminal: Terminal): Promise<void> {
  await terminal.run('clear; mint-ssh agent stop; rm -rf ~/.config ~/.ssh; clear');
}

interface Terminal {
  /** Types a line and Enter, and waits until the screen matches. */
  type(line: string, until: RegExp): Promise<void>;
  /** Presses keys, by tmux's names, and waits until the screen matches. */
  keys(keys: readonly string[], until?: RegExp): Promise<void>;
  /** Types a line and Enter, and waits for the next prompt. @returns the exit status */
  run(line: string): Promise<number>;
  /** Waits for the prompt after the line that was typed last. @returns the exit status */
  prompted(): Promise<number>;
  /** All since the screen was cleared, with broken lines joined. */
  capture(): string;
  end(): Promise<void>;
}

async function startTerminal(world: World): Promise<Terminal> {
  const client = join(world.directory, 'client');
  const launcher = makeUsers(client, [user]);
  const home = join(client, 'home', user.name);
  const bin = join(home, '.local/bin');
  mkdirSync(bin, { recursive: true });
  copyFileSync(world.program, join(bin, 'mint-ssh'));
  const socket = join(home, 'tmux');
  const statuses = join(home, 'statuses');
  const { MINT_CONFIG_DIR: _, ...variables } = world.environment;
  const environment = {
    ...variables,
    ...{ HOME: `/home/${user.name}`, USER: user.name, SHELL: '/bin/bash', TERM: 'xterm-256color' },
    PATH: `/home/${user.name}/.local/bin:${world.environment['PATH']}`,
    // The program is in no package that the tests declare.
    'BASH_FUNC_clear%%': `() { printf '\\033[H\\033[2J\\033[3J'; }`,
    // A line for each prompt, with the status of the command before it.
    PROMPT_COMMAND: `echo $? >> /home/${user.name}/statuses`,
  };
  const ids = String(user.uid);
  for (const path of [join(home, '.local'), bin]) chownSync(path, user.uid, user.uid);
  const tmux = async (...words: string[]) => {
    const { status, stdout, stderr } = await world.run('tmux', ['-S', socket, ...words]);
    if (status !== 0) throw new Error(`tmux ${words[0]}: ${stderr}`);
    return stdout;
  };
  const started = await world.run(launcher[0] ?? '', [
    ...launcher.slice(1),
    ...['setpriv', '--reuid', ids, '--regid', ids, '--clear-groups', 'env', '-C', `/home/${user.name}`, '-i'],
    ...Object.entries(environment).map((pair) => pair.join('=')),
    ...['tmux', '-S', `/home/${user.name}/tmux`, '-f', '/dev/null', 'new-session', '-d'],
    ...['-x', String(columns), '-y', '60', `exec env PS1='$ ' bash --norc --noprofile`],
  ]);
  if (started.status !== 0) throw new Error(`tmux did not start: ${started.stderr}`);

  let screen = '';
  let before = 0;
  const look = async () => {
    screen = (await tmux('capture-pane', '-p', '-J', '-S', '-'))
      .replace(/[ \n]+$/, '\n')
      .replaceAll(/ +$/gm, '');
    return screen;
  };
  const shown = () => (existsSync(statuses) ? readFileSync(statuses, 'utf8').split('\n').slice(0, -1) : []);
  const terminal: Terminal = {
    async type(line, until) {
      before = shown().length;
      await terminal.keys([line, 'Enter'], until);
    },
    async keys(keys, until) {
      for (const key of keys) await tmux('send-keys', key);
      const limit = performance.now() + limitMs;
      while (until !== undefined && !until.test(await look())) {
        if (performance.now() > limit) throw new Error(`waited for ${until}; the screen shows:\n${screen}`);
      }
    },
    async run(line) {
      await terminal.type(line, /./);
      return await terminal.prompted();
    },
    async prompted() {
      await waitFor('the prompt', 30_000, () => shown().length > before);
      await terminal.keys([], /^\$$/m);
      return Number(shown().at(-1));
    },
    capture: () => screen,
    async end() {
      await terminal.run('clear; mint-ssh agent stop').catch(() => {});
      await tmux('kill-server');
    },
  };
  await waitFor('the first prompt', 15_000, () => shown().length > 0);
  return terminal;
}
