/** `mint-ssh mosh`: starts mosh-server through ssh, then connects mosh-client to the address that ssh reached. */
import { execFile } from 'node:child_process';
import { lookup } from 'node:dns/promises';
import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import type { Command, Invocation } from '../cli/command.ts';
import { printable } from '../cli/terminal.ts';
import { MintError } from '../errors.ts';
import { resolvePaths } from '../platform/paths.ts';
import { withScratchDirectory } from '../platform/scratch.ts';
import { loadSettings } from '../settings/settings.ts';
import { vmName } from '../settings/vm-name.ts';
import { type Login, withLoginConfig } from '../ssh-config/login-config.ts';
import { sshArguments, sshStatus, startProgram } from '../ssh-config/ssh-child.ts';
import { findVm, proxyOptionsFor } from '../vms/find-vm.ts';
import { type MoshAnswer, moshServerCommand, readMoshServer } from './mosh-server.ts';

export const command: Command = {
  usage: 'mosh VM [-- COMMAND…]',
  help: `Runs mosh to a VM: starts mosh-server there through ssh, then mosh-client here. COMMAND runs on the VM in place
of your shell. mosh has to be installed on both sides, and the VM's security group has to allow UDP ports 60000 to
61000. The exit status is mosh-client's own.

  mint-ssh mosh dev
  mint-ssh mosh dev -- tmux attach`,
  logsIn: true,
  options: {},
  run,
};

/** Options of the ssh session: not multiplexed, because the proxy reports its address; nothing from the user's config. */
const sessionOptions = [
  '-T',
  '-a',
  '-x',
  ...[
    'ControlMaster=no',
    'ControlPath=none',
    'RemoteCommand=none',
    'PermitLocalCommand=no',
    'ClearAllForwardings=yes',
  ].flatMap((option) => ['-o', option]),
];

/** How long to wait for ssh to end after mosh-server has detached: a shell's start-up files may leave processes behind. */
const detachTimeoutMs = 5_000;

async function run({ positionals, rest, globals }: Invocation): Promise<number> {
  const [given, ...more] = positionals;
  if (given === undefined || more.length > 0) {
    throw new MintError('usage', given === undefined ? 'missing argument: VM' : 'put the command after --', {
      hint: `usage: mint-ssh ${command.usage}`,
    });
  }
  const name = vmName(given);
  const paths = resolvePaths({ configDir: globals.configDir });
  const settings = loadSettings(paths, { profile: globals.profile, region: globals.region });
  // Check this before anything is started on the VM.
  const colours = await terminalColours();
  const remote = moshServerCommand({ colours, command: rest ?? [], environment: process.env });
  const found = await findVm({ paths, settings, name });
  const login = { paths, vm: found.vm, globals, proxyOptions: proxyOptionsFor(found) };
  const { status, answer, host } = await startServer(login, remote);
  if (answer.kind !== 'ready') return notStarted(name, status, answer);
  const address = await numeric(name, host);
  const environment = { ...process.env, MOSH_KEY: answer.key };
  const client = startProgram('mosh-client', [address, String(answer.port)], {
    stdio: 'inherit',
    env: environment,
  });
  return await sshStatus(client, noMoshClient);
}

/**
 * The number of colours that mosh-client reports for the terminal; 0 if unknown.
 * @throws MintError `io-failed`
 */
function terminalColours(): Promise<number> {
  return new Promise((resolve, reject) => {
    execFile('mosh-client', ['-c'], { timeout: 5_000 }, (error, stdout) => {
      if (error?.code === 'ENOENT') reject(noMoshClient(error));
      else resolve(/^\d{1,9}\s*$/.test(stdout) ? Number(stdout) : 0);
    });
  });
}

function noMoshClient(cause: Error): MintError {
  return new MintError('io-failed', 'mosh-client is not installed', {
    cause,
    hint: 'install mosh, for example with `apt-get install mosh` or `brew install mosh`',
  });
}

interface Started {
  /** Of ssh. */
  readonly status: number;
  readonly answer: MoshAnswer;
  /** The address that the proxy connected to; undefined if it did not connect. */
  readonly host: string | undefined;
}

async function startServer(login: Login, remote: string): Promise<Started> {
  return await withScratchDirectory(login.paths, async (directory) => {
    const told = join(directory, 'address');
    return await withLoginConfig(
      { ...login, proxyOptions: [...(login.proxyOptions ?? []), '--told-address', told] },
      async (file) => {
        const words = sshArguments(file, sessionOptions, login.vm.name, remote);
        const child = startProgram('ssh', words, { stdio: ['ignore', 'pipe', 'inherit'] });
        const ended = sshStatus(child);
        const answer = await readMoshServer(child.stdout as Readable);
        const limit = setTimeout(() => child.kill(), detachTimeoutMs);
        const status = await ended;
        clearTimeout(limit);
        return { status, answer, host: addressIn(told) };
      },
    );
  });
}

function addressIn(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim() || undefined;
  } catch {
    // ssh did not connect.
    return undefined;
  }
}

/**
 * Resolves the host to an address, because mosh-client takes no names.
 * @throws MintError `dial-failed`, `io-failed`
 */
async function numeric(vm: string, host: string | undefined): Promise<string> {
  if (host === undefined) throw new MintError('io-failed', `the proxy did not report the address of ${vm}`);
  if (isIP(host) !== 0) return host;
  try {
    return (await lookup(host)).address;
  } catch (cause) {
    throw new MintError('dial-failed', `${printable(host)} does not resolve`, { cause });
  }
}

/**
 * Reports why mosh-server did not start. ssh has already reported a failed login.
 * @throws MintError `io-failed`
 */
function notStarted(vm: string, status: number, answer: Exclude<MoshAnswer, { kind: 'ready' }>): number {
  if (answer.kind === 'missing') {
    throw new MintError('io-failed', `mosh-server is not installed on ${vm}`, {
      hint: `install it, for example: mint-ssh ssh ${vm} -- -t sudo apt-get install mosh`,
    });
  }
  if (answer.said === '' && status !== 0) return status;
  const words = answer.said === '' ? 'it said nothing' : `"${printable(answer.said)}"`;
  throw new MintError('io-failed', `mosh-server on ${vm} did not start: ${words}`, {
    hint: /locale/i.test(answer.said)
      ? 'it needs a UTF-8 locale: set LANG=C.UTF-8 here, or install the locale there'
      : `see what it says: mint-ssh ssh ${vm} -- mosh-server new`,
  });
}
