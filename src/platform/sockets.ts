/**
 * What the agent listens on: Unix sockets in its run directory, or named pipes on Windows. Only this file knows which;
 * clients and listeners use the path unchanged.
 */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { MintError } from '../errors.ts';
import { knownPipeSecret, pipeName, pipeSecret, singlePipeName } from './pipe-names.ts';
import { system } from './system/system.ts';

export interface SocketPlaces {
  readonly control: string;
  /** What `-A` forwards. */
  readonly forward: string;
  vm(name: string): string;
  /** The socket that `-A` forwards to a VM with its own `upstream_agent`. */
  forwardOf(name: string): string;
}

/**
 * Whether `-A` forwards a socket of ours, which leads to the user's agent. ssh looks before each login whether what it
 * would forward is there, and complains where it is not; a file can stand in for a socket, but not for a pipe.
 */
export const hasForwardSockets = !system.hasPipes;

/** A socket's path has to fit `sun_path` with its NUL: 104 bytes on macOS and the BSDs, 108 on Linux. */
const socketPathBytes = 103;

/**
 * @param run the run directory
 * @returns the paths. Reading one throws `agent-unavailable` if it is too long for a socket. On Windows, reading one
 *   creates the secret behind the names if it does not exist, and can throw `io-failed` or `unsafe-permissions`.
 */
export function socketPlaces(run: string, pipes = system.hasPipes): SocketPlaces {
  return pipes ? pipePlaces(run) : filePlaces(run);
}

function filePlaces(run: string): SocketPlaces {
  return {
    control: join(run, 'control.sock'),
    forward: join(run, 'forward.sock'),
    vm: (name) => vmSocket(join(run, 'agent'), name),
    forwardOf: (name) => vmSocket(join(run, 'forward'), name),
  };
}

function pipePlaces(run: string): SocketPlaces {
  let secret: Buffer | undefined;
  const name = (...words: readonly string[]) => {
    secret ??= pipeSecret(run);
    return pipeName(secret, ...words);
  };
  return {
    get control() {
      return name('control');
    },
    get forward() {
      return name('forward');
    },
    vm: (vm) => name('agent', vm),
    forwardOf: (vm) => name('forward', vm),
  };
}

/** @returns the secret of both ends of the control socket; undefined on Unix, where its directory protects it */
export function controlSecret(run: string): Buffer | undefined {
  return system.hasPipes ? knownPipeSecret(run) : undefined;
}

/**
 * A socket for this process alone.
 * @param directory a directory of this process that other users cannot enter
 */
export function privateSocket(directory: string): string {
  return system.hasPipes ? singlePipeName() : socketPath(join(directory, 'key.sock'));
}

/**
 * @returns the path, if a socket can have it
 * @throws MintError `agent-unavailable` if it is too long
 */
export function socketPath(path: string): string {
  if (system.hasPipes || Buffer.byteLength(path) <= socketPathBytes) return path;
  throw new MintError(
    'agent-unavailable',
    `${JSON.stringify(path)} is too long for a socket: at most ${socketPathBytes} bytes`,
    { hint: 'set run_dir in ssh.toml to a short path of your own, for example "~/.mint-run"' },
  );
}

function vmSocket(directory: string, vm: string): string {
  const plain = join(directory, `${vm}.sock`);
  if (Buffer.byteLength(plain) <= socketPathBytes) return plain;
  // No VM's name starts with an underscore, so a hash never takes the place of a name.
  const hash = createHash('sha256').update(vm).digest('base64url').slice(0, 12);
  return socketPath(join(directory, `_${hash}.sock`));
}
