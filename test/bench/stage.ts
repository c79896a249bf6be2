/**
 * Where the measurements take place: real sshds with an account whose shell starts with nothing, relays that
 * stand for distance, the cloud, and a key of one's own for the ways that do without mint-ssh.
 */
import { execFileSync, spawn } from 'node:child_process';
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { startRelay } from '../openssh/relay.ts';
import { type Sshd, startSshd } from '../openssh/sshd.ts';
import { loginUser, makeWorld, type World, type WorldOptions } from '../openssh/world.ts';

/** How long one login or copy may take, in milliseconds. */
const runLimit = 120_000;

export interface Ran {
  /** From the start of ssh to its end; what it leaves behind is not waited for. */
  readonly milliseconds: number;
  readonly stderr: string;
}

export interface RunOptions {
  /** Files for stdin and stdout, by path; /dev/null unless told. */
  readonly stdin?: string;
  readonly stdout?: string;
  readonly environment?: Readonly<Record<string, string>>;
  /** Told the pid as soon as it runs. */
  readonly started?: (pid: number) => void;
}

export interface Stage {
  readonly directory: string;
  /** Its private key; the sshds accept it like a pushed one. */
  readonly keyFile: string;
  /** One sshd with the key exchange fixed to curve25519-sha256, one with its own default. */
  readonly fixed: Sshd;
  readonly usual: Sshd;
  /** The port that leads to `fixed` with this round trip, in milliseconds. */
  port(roundTrip: number): number;
  world(options: WorldOptions): Promise<World>;
  /** Arguments of ssh for a way without mint-ssh. */
  plain(port: number, options: readonly string[], command: string): string[];
  /** Runs a program to its end, in the first world's environment unless told. @throws where its status is not 0 */
  run(program: string, args: readonly string[], options?: RunOptions): Promise<Ran>;
  end(): Promise<void>;
}

export async function makeStage(roundTrips: readonly number[]): Promise<Stage> {
  const directory = mkdtempSync('/tmp/mb-');
  const [home, keyFile, keys, known] = ['home', 'key', 'keys.sh', 'known_hosts'].map((name) =>
    join(directory, name),
  ) as [string, string, string, string];
  mkdirSync(home);
  execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', '', '-f', keyFile]);
  const keySources = [`${keyFile}.pub`];
  // sshd asks one command for every way's keys, so that the question costs all of them the same.
  const writeKeys = () => writeFileSync(keys, `cat ${keySources.join(' ')} 2>/dev/null\ntrue\n`);
  writeKeys();
  const lines = [
    `AuthorizedKeysCommand /bin/sh ${keys} %u`,
    // An empty home: the account's shell has no start-up files of its own to run.
    `SetEnv HOME=${home} MINT_SSHD=${directory}`,
    'MaxStartups 1000',
  ];
  const sshd = (name: string, more: readonly string[] = []) =>
    startSshd({ directory: join(directory, name), authorizedKeys: '/nowhere', lines: [...lines, ...more] });
  const fixed = await sshd('fixed', ['KexAlgorithms curve25519-sha256']);
  const usual = await sshd('usual');
  const relays = new Map<number, Awaited<ReturnType<typeof startRelay>>>();
  for (const roundTrip of roundTrips.filter((time) => time > 0)) {
    const relay = await startRelay(fixed.port);
    relay.delayMilliseconds = roundTrip / 2;
    relays.set(roundTrip, relay);
  }
  const port = (roundTrip: number) => relays.get(roundTrip)?.port ?? fixed.port;
  const ports = [...roundTrips.map(port), fixed.port];
  const knownLines = [
    ...ports.map((each) => `[127.0.0.1]:${each} ${fixed.hostKey.line}`),
    `[127.0.0.1]:${usual.port} ${usual.hostKey.line}`,
  ];
  writeFileSync(known, `${knownLines.join('\n')}\n`);
  const worlds: World[] = [];
  let environment: Readonly<Record<string, string>> = {};
  let ending: Promise<void> | undefined;
  const endAll = async () => {
    for (const world of worlds) await world.end();
    for (const relay of relays.values()) await relay.close();
    for (const each of [fixed, usual]) await each.stop({ sessions: true });
    rmSync(directory, { recursive: true, force: true });
  };

  return {
    directory,
    keyFile,
    fixed,
    usual,
    port,
    async world(options) {
      const world = await makeWorld(options);
      worlds.push(world);
      if (worlds.length === 1) environment = world.environment;
      keySources.push(`${world.directory}/keys/*/"$1"`);
      writeKeys();
      return world;
    },
    plain: (to, options, command) => [
      ...['-F', 'none', '-i', keyFile, '-p', String(to)],
      ...['IdentitiesOnly=yes', 'IdentityAgent=none', `UserKnownHostsFile=${known}`].flatMap(asOption),
      ...['GlobalKnownHostsFile=/dev/null', 'StrictHostKeyChecking=yes', 'UpdateHostKeys=no'].flatMap(
        asOption,
      ),
      ...options.flatMap(asOption),
      ...[`${loginUser}@127.0.0.1`, command],
    ],
    run: (program, args, options = {}) =>
      runToEnd(
        program,
        args,
        { environment, ...options },
        join(directory, `stderr-${worlds.length}-${Math.random()}`),
      ),
    end() {
      ending ??= endAll();
      return ending;
    },
  };
}

export function asOption(option: string): string[] {
  return ['-o', option];
}

/** stderr is a file and not a pipe: a ProxyCommand that ends after ssh does not count. */
function runToEnd(program: string, args: readonly string[], options: RunOptions, log: string): Promise<Ran> {
  const files = [
    openSync(options.stdin ?? '/dev/null', 'r'),
    openSync(options.stdout ?? '/dev/null', 'w'),
    openSync(log, 'w'),
  ];
  return new Promise((resolve, reject) => {
    const startedAt = performance.now();
    const child = spawn(program, args, { stdio: files, env: options.environment, timeout: runLimit });
    for (const file of files) closeSync(file);
    child.once('error', reject);
    if (child.pid !== undefined) options.started?.(child.pid);
    child.once('exit', (status) => {
      const milliseconds = performance.now() - startedAt;
      const stderr = readFileSync(log, 'utf8');
      rmSync(log, { force: true });
      if (status === 0) resolve({ milliseconds, stderr });
      else reject(new Error(`${program} ${args.join(' ')}: status ${status}: ${stderr.slice(-2000)}`));
    });
  });
}
