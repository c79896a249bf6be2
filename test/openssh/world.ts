/**
 * The surroundings of an end-to-end test: a cloud, real sshds, a configuration directory, an emptied environment, and the
 * built executable. `end()` removes everything, and throws if a process is still running.
 *
 * The world is as unkind as a real account: a VM has host keys of three types and sshd's default `MaxStartups`, its console
 * has scrolled past the keys, and instances of other users, regions and states are beside it. A test that needs it kinder
 * sets that in `VmOptions` or `WorldOptions`.
 *
 *     const world = await makeWorld({ vms: { dev: {} } });
 *     const { status, stdout } = await world.ssh('dev', 'echo hello');
 *     await world.end();
 *
 * The cloud lives in the test's own process: nothing here blocks, and a test must not either (no
 * `execFileSync` of something that logs in).
 */
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Cloud, cloudEnvironment, demoRegion, startCloud } from '../cloud/cloud.ts';
import { oldConsole } from '../cloud/console.ts';
import { addOtherInstances } from '../cloud/other-instances.ts';
import { testPath } from '../programs.ts';
import { type Child, type Result, type RunOptions, startChild, waitFor } from './child.ts';
import { processesOf, type RunningProcess } from './processes.ts';
import { type Relay, startRelay } from './relay.ts';
import { type HostKeyType, loginUser, type Sshd, startSshd, type VmUser } from './sshd.ts';

export { type Child, type Result, type RunOptions, waitFor } from './child.ts';
export type { Relay } from './relay.ts';
export { freePort, loginUser, type Sshd } from './sshd.ts';

export interface VmOptions {
  /** Lines that go first in its sshd_config. */
  readonly sshdLines?: readonly string[];
  /** `ed25519`, `ecdsa` and `rsa` by default. */
  readonly hostKeyTypes?: readonly HostKeyType[];
  /** Users that exist on this VM alone, root's tests only; ssh.toml then names the first of them. */
  readonly users?: readonly VmUser[];
  /** Puts a relay (`vm.relay`) between the VM's address in ssh.toml and its sshd. */
  readonly relay?: boolean;
  /** Starts no sshd: the test listens on `port` itself, or leaves it closed. */
  readonly port?: number;
  /** More lines for its table in ssh.toml, such as `require_binding = true`. */
  readonly settings?: readonly string[];
}

export interface WorldOptions {
  /** By name; default: `{ dev: {} }`. */
  readonly vms?: Readonly<Record<string, VmOptions>>;
  /** Lines for the top of ssh.toml. */
  readonly settings?: readonly string[];
  /** More variables for every child; undefined removes one. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
  /** Another copy of the executable than the one that was built last. */
  readonly program?: string;
  /** Leaves other users' instances out of the account. */
  readonly emptyAccount?: boolean;
  /** Skips `ssh-config --yes`: there is no `sshConfigFile` then. */
  readonly withoutSshConfig?: boolean;
}

export interface WorldVm {
  readonly name: string;
  /** Its instance id; `world.cloud.instances` has it. */
  readonly instance: string;
  readonly sshd: Sshd | undefined;
  readonly relay: Relay | undefined;
  /** The port that ssh.toml names. */
  readonly port: number;
}

export interface World {
  /** The executable that is tested. */
  readonly program: string;
  /** Everything of this world is below it; short, so that sockets fit. */
  readonly directory: string;
  readonly configDir: string;
  readonly home: string;
  readonly cloud: Cloud;
  readonly environment: Readonly<Record<string, string>>;
  /** What `ssh -F` takes: holds the Include that `ssh-config --yes` wrote. */
  readonly sshConfigFile: string;
  /** @throws if there is no such VM */
  vm(name: string): WorldVm;
  /** The VM's real sshd. @throws where it has none */
  sshd(name: string): Sshd;
  start(program: string, args: readonly string[], options?: RunOptions): Child;
  run(program: string, args: readonly string[], options?: RunOptions): Promise<Result>;
  /** The built executable. */
  mint(...args: readonly string[]): Promise<Result>;
  /** The machine's ssh with `-F sshConfigFile`, stdin empty. */
  ssh(...args: readonly string[]): Promise<Result>;
  /** The same in the background, with options. */
  startSsh(args: readonly string[], options?: RunOptions): Child;
  /** Replaces ssh.toml, with these lines at the top, and runs `ssh-config --yes`. */
  settings(lines: readonly string[]): Promise<void>;
  /** The contents of a file below the configuration directory; undefined if it does not exist. */
  file(name: string): string | undefined;
  /** Agents of this world that run now. */
  agents(): RunningProcess[];
  end(): Promise<void>;
}

/** The executable that `npm run build` makes. */
export const mintProgram = join(import.meta.dirname, '../../dist/mint-ssh');

export async function makeWorld(options: WorldOptions = {}): Promise<World> {
  const program = options.program ?? mintProgram;
  if (!existsSync(program)) throw new Error(`${program} is not there: npm run build`);
  const directory = mkdtempSync('/tmp/mw-');
  const [configDir, home, keys] = ['config', 'home', 'keys'].map((name) => join(directory, name)) as [
    string,
    string,
    string,
  ];
  mkdirSync(configDir, { mode: 0o700 });
  mkdirSync(home, { mode: 0o700 });
  const cloud = await startCloud({ keysDirectory: keys });
  if (!options.emptyAccount) addOtherInstances(cloud);
  const vms = new Map<string, WorldVm>();
  const vmOptions = options.vms ?? { dev: {} };
  for (const [name, each] of Object.entries(vmOptions))
    vms.set(name, await makeVm(name, each, directory, cloud));

  const environment = defined({
    PATH: testPath,
    HOME: home,
    USER: loginUser,
    LANG: 'C.UTF-8',
    // ssh starts a ProxyCommand with it.
    SHELL: '/bin/sh',
    MINT_CONFIG_DIR: configDir,
    ...cloudEnvironment(cloud, directory),
    ...options.environment,
  });
  const sshConfigFile = join(directory, 'ssh_config');
  const children = new Set<Child>();

  const world: World = {
    program,
    directory,
    configDir,
    home,
    cloud,
    environment,
    sshConfigFile,
    vm: (name) => known(vms.get(name), name),
    sshd: (name) => known(vms.get(name)?.sshd, name),
    start(program, args, runOptions) {
      const child = startChild(program, args, environment, { cwd: directory, ...runOptions });
      children.add(child);
      return child;
    },
    run: (program, args, runOptions) => world.start(program, args, runOptions).done,
    mint: (...args) => world.run(program, args),
    ssh: (...args) => world.startSsh(args).done,
    startSsh: (args, runOptions) => world.start('ssh', ['-F', sshConfigFile, ...args], runOptions),
    async settings(lines) {
      writeFileSync(join(configDir, 'ssh.toml'), sshToml(lines, vms.values(), vmOptions), { mode: 0o600 });
      if (options.withoutSshConfig) return;
      const { status, stderr } = await world.mint('ssh-config', '--yes', '--file', sshConfigFile);
      if (status !== 0) throw new Error(`ssh-config: status ${status}: ${stderr}`);
    },
    file(name) {
      const path = join(configDir, name);
      return existsSync(path) ? readFileSync(path, 'utf8') : undefined;
    },
    agents: () =>
      processesOf(directory).filter(({ command }) => /^\S*mint-ssh (?:.* )?agent\b/.test(command)),
    end: once(() => endWorld(world, vms, children)),
  };
  try {
    await world.settings(options.settings ?? []);
  } catch (error) {
    await world.end().catch(() => {});
    throw error;
  }
  return world;
}

async function makeVm(name: string, options: VmOptions, directory: string, cloud: Cloud): Promise<WorldVm> {
  const instance = `i-${randomBytes(9).toString('hex').slice(1)}`;
  cloud.instances.set(instance, {
    id: instance,
    region: demoRegion,
    state: 'running',
    address: '127.0.0.1',
    console: { text: oldConsole(), at: Date.now() },
  });
  const { sshdLines = [], hostKeyTypes, users, port } = options;
  if (port !== undefined) {
    const relay = options.relay ? await startRelay(port) : undefined;
    return { name, instance, sshd: undefined, relay, port: relay?.port ?? port };
  }
  const sshd = await startSshd({
    directory: join(directory, `vm-${name}`),
    authorizedKeys: join(directory, 'keys', instance),
    lines: sshdLines,
    ...(hostKeyTypes === undefined ? {} : { hostKeyTypes }),
    ...(users === undefined ? {} : { users }),
  });
  const relay = options.relay ? await startRelay(sshd.port) : undefined;
  return { name, instance, sshd, relay, port: relay?.port ?? sshd.port };
}

function sshToml(
  lines: readonly string[],
  vms: Iterable<WorldVm>,
  options: Readonly<Record<string, VmOptions>>,
): string {
  const tables = [...vms].map(({ name, instance, port }) =>
    [
      `[vm.${JSON.stringify(name)}]`,
      'host = "127.0.0.1"',
      `port = ${port}`,
      `instance = "${instance}"`,
      `user = "${options[name]?.users?.[0]?.name ?? loginUser}"`,
      ...(options[name]?.settings ?? []),
    ].join('\n'),
  );
  return `${[...lines, ...tables].join('\n\n')}\n`;
}

/** Ends the agent, remaining processes, the sshds and the cloud; then reports processes that should have ended. */
async function endWorld(
  world: World,
  vms: ReadonlyMap<string, WorldVm>,
  children: ReadonlySet<Child>,
): Promise<void> {
  const left: string[] = [];
  const stop = await world
    .mint('agent', 'stop')
    .catch((error: Error) => ({ status: 1, stderr: error.message }));
  if (stop.status !== 0) left.push(`agent stop: ${stop.stderr}`);
  for (const { relay } of vms.values()) await relay?.close();
  // The sshds themselves, and what runs in their sessions, are ended below.
  const clients = () =>
    processesOf(world.directory).filter(
      ({ command, environment }) => !command.startsWith('sshd: ') && !environment.includes('MINT_SSHD='),
    );
  await waitFor('processes to end', 6_000, () => clients().length === 0).catch(() => {
    left.push(...clients().map(({ pid, command }) => `${pid} ${command}`));
  });
  for (const child of children) child.kill('SIGKILL');
  for (const { pid } of clients()) process.kill(pid, 'SIGKILL');
  for (const { sshd } of vms.values()) await sshd?.stop({ sessions: true });
  await world.cloud.close();
  rmSync(world.directory, { recursive: true, force: true });
  if (left.length > 0) throw new Error(`left behind:\n${left.join('\n')}`);
}

function known<T>(value: T | undefined, name: string): T {
  if (value === undefined) throw new Error(`this world has no ${name}`);
  return value;
}

function defined(variables: Readonly<Record<string, string | undefined>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(variables).filter((entry): entry is [string, string] => entry[1] !== undefined),
  );
}

function once(action: () => Promise<void>): () => Promise<void> {
  let running: Promise<void> | undefined;
  return () => {
    running ??= action();
    return running;
  };
}
