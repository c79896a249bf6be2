/**
 * The surroundings of the demo: a temporary directory, the cloud and the hosts inside this process, and the machine's
 * ssh with a config for them. It neither reads nor writes the user's files.
 */
import { spawn } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { MintError } from '../errors.ts';
import { ensurePrivateDirectory } from '../platform/files.ts';
import { ensureForwardSocket, ensureForwardSockets } from '../platform/forward-socket.ts';
import { resolvePaths } from '../platform/paths.ts';
import { programPath } from '../platform/program.ts';
import { system } from '../platform/system/system.ts';
import { loadSettings } from '../settings/settings.ts';
import { renderSshConfig } from '../ssh-config/render.ts';
import { noSsh } from '../ssh-config/ssh-client.ts';
import { type Cloud, cloudEnvironment, demoRegion, startCloud } from './cloud.ts';
import { type Host, startHost } from './hosts.ts';

/** How a program that the demo ran ended. */
export interface Outcome {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
  /** The time from its start to its end. */
  readonly milliseconds: number;
}

export interface Stage {
  readonly directory: string;
  readonly cloud: Cloud;
  readonly hosts: { readonly dev: Host; readonly build: Host };
  /** Runs the machine's ssh with the generated config. */
  ssh(vm: string, command: string): Promise<Outcome>;
  /** Runs mint-ssh. */
  mint(...words: readonly string[]): Promise<Outcome>;
  /** The current content of Mint's file of trusted host keys. */
  knownHosts(): string;
  /**
   * Runs an interactive shell in which `ssh` and `mint-ssh` are those of the demo.
   *
   * @returns its exit status
   */
  shell(): Promise<number>;
  /** Ends the agent, the hosts and the cloud, and removes the directory. */
  strike(): Promise<void>;
}

const instances = { dev: 'i-0d3f0000000000001', build: 'i-0d3f0000000000002' };

/** The time limit of one step, in milliseconds. */
const stepLimit = 30_000;

/** @throws MintError `io-failed` if the executable or ssh is missing */
export async function setStage(): Promise<Stage> {
  const program = programPath();
  if (!existsSync(program)) {
    throw new MintError('io-failed', `${program} does not exist`, { hint: 'build it first: npm run build' });
  }
  // The sockets are below it, and their paths must be short.
  const short = system.shortTemporaryDirectory;
  const base = short !== undefined && existsSync(short) ? short : tmpdir();
  const directory = mkdtempSync(join(realpathSync(base), 'mint-demo-'));
  chmodSync(directory, 0o700);
  const closing: (() => Promise<unknown>)[] = [];
  let struck: Promise<void> | undefined;
  const strike = () => {
    struck ??= (async () => {
      for (const close of closing.toReversed()) await close();
      rmSync(directory, { recursive: true, force: true });
    })();
    return struck;
  };
  try {
    const cloud = await startCloud();
    closing.push(() => cloud.close());
    const hosts = { dev: await addHost('dev', cloud), build: await addHost('build', cloud) };
    closing.push(() => Promise.all([hosts.dev.close(), hosts.build.close()]));

    const environment = stageEnvironment(directory, cloud);
    const sshConfig = join(directory, 'ssh_config');
    const paths = await writeConfiguration(environment, hosts, { program, sshConfig });
    closing.push(() => runProgram(program, ['agent', 'stop'], environment));

    // Wait for the interrupted step: only then is it certain which agent has to be stopped.
    const steps = new Set<Promise<Outcome>>();
    const step = (name: string, words: readonly string[]): Promise<Outcome> => {
      if (struck !== undefined) return Promise.reject(new MintError('io-failed', 'the demo was interrupted'));
      const outcome = runProgram(name, words, environment);
      steps.add(outcome);
      return outcome;
    };
    closing.push(() => Promise.allSettled(steps));

    return {
      directory,
      cloud,
      hosts,
      ssh: (vm, command) => step('ssh', ['-F', sshConfig, vm, command]),
      mint: (...words) => step(program, words),
      knownHosts: () => readFileSync(paths.knownHosts, 'utf8'),
      shell: () => runShell(directory, { program, sshConfig, environment }),
      strike,
    };
  } catch (error) {
    await strike();
    throw error;
  }
}

function addHost(name: keyof typeof instances, cloud: Cloud): Promise<Host> {
  const instance = instances[name];
  cloud.instances.set(instance, { id: instance, region: demoRegion, state: 'running', address: '127.0.0.1' });
  return startHost({ name, instance, cloud });
}

/** The user's environment without variables that lead to their accounts, keys or configuration. */
function stageEnvironment(directory: string, cloud: Cloud): NodeJS.ProcessEnv {
  const foreign = /^(?:AWS_|MINT_|SSH_|NODE_|DISPLAY$|WAYLAND_|(?:https?|all|no)_proxy$)/i;
  const kept = Object.entries(process.env).filter(([name]) => !foreign.test(name));
  return {
    ...Object.fromEntries(kept),
    ...cloudEnvironment(cloud, directory),
    HOME: directory,
    MINT_CONFIG_DIR: join(directory, 'mint'),
    // ssh runs ProxyCommand with this shell. The user's login shell may print text.
    SHELL: '/bin/sh',
  };
}

/** Writes ssh.toml for the two VMs, and the blocks that `ssh-config` would write. */
async function writeConfiguration(
  environment: NodeJS.ProcessEnv,
  hosts: Readonly<Record<string, Host>>,
  { program, sshConfig }: { readonly program: string; readonly sshConfig: string },
) {
  const paths = resolvePaths({ configDir: undefined }, environment);
  ensurePrivateDirectory(paths.dir);
  ensurePrivateDirectory(paths.hosts);
  ensureForwardSocket(paths);
  ensureForwardSockets(paths, Object.keys(instances));
  const tables = Object.entries(instances).map(
    ([name, instance]) =>
      `[vm.${name}]\ninstance = "${instance}"\nhost = "127.0.0.1"\nport = ${hosts[name]?.port}\nuser = "ubuntu"\n`,
  );
  writeFileSync(paths.sshToml, tables.join('\n'), { mode: 0o600 });

  const settings = loadSettings(paths, {});
  const vms = settings.vms.map((name) => settings.vm(name)).filter((vm) => vm !== undefined);
  const blocks = vms.map((vm) => ({ vm, forwardAgent: false }));
  const used = new Set<string>();
  writeFileSync(sshConfig, renderSshConfig(blocks, { paths, program, used }), {
    mode: 0o600,
  });
  return paths;
}

interface ShellOptions {
  readonly program: string;
  readonly sshConfig: string;
  readonly environment: NodeJS.ProcessEnv;
}

/** Runs sh, because the user's own shell would read their start-up files. */
function runShell(directory: string, { program, sshConfig, environment }: ShellOptions): Promise<number> {
  const bin = join(directory, 'bin');
  mkdirSync(bin);
  for (const name of ['ssh', 'scp', 'sftp']) {
    // The directory is ours, and its name has no character that is special to a shell.
    const script = `#!/bin/sh\nPATH=\${PATH#*:}\nexec ${name} -F ${sshConfig} "$@"\n`;
    writeFileSync(join(bin, name), script, { mode: 0o755 });
  }
  symlinkSync(program, join(bin, 'mint-ssh'));
  const env = { ...environment, PATH: `${bin}:${environment['PATH'] ?? ''}`, PS1: 'demo$ ' };
  return new Promise((resolve, reject) => {
    const child = spawn('/bin/sh', ['-i'], { env, cwd: directory, stdio: 'inherit' });
    child.once('error', reject).once('close', (status) => resolve(status ?? 1));
  });
}

/**
 * @returns the version of this machine's ssh
 * @throws MintError `io-failed` if ssh is not installed
 */
export async function sshVersion(): Promise<string> {
  const { stderr } = await runProgram('ssh', ['-V'], process.env);
  return stderr.split(',')[0]?.trim() ?? '';
}

/** Runs a program without blocking, because the cloud and the hosts answer from this process. */
function runProgram(
  program: string,
  words: readonly string[],
  environment: NodeJS.ProcessEnv,
): Promise<Outcome> {
  const start = performance.now();
  return new Promise((resolve, reject) => {
    const child = spawn(program, words, {
      env: environment,
      // Without a terminal, because the demo does not prompt.
      detached: true,
      windowsHide: true,
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: stepLimit,
    });
    const stdout = collect(child.stdout);
    const stderr = collect(child.stderr);
    child.once('error', (cause) => {
      const missing = (cause as NodeJS.ErrnoException).code === 'ENOENT' && program === 'ssh';
      reject(missing ? noSsh(cause) : new MintError('io-failed', `cannot start ${program}`, { cause }));
    });
    child.once('close', (status) =>
      resolve({ status, stdout: stdout(), stderr: stderr(), milliseconds: performance.now() - start }),
    );
  });
}

function collect(stream: Readable): () => string {
  const chunks: Buffer[] = [];
  stream.on('data', (chunk: Buffer) => chunks.push(chunk));
  return () => Buffer.concat(chunks).toString();
}
