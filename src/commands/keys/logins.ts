/** Logs in with managed keys to the machines that accept them; opens each key once. */
import type { KeyObject } from 'node:crypto';
import { hint, say } from '../../cli/terminal.ts';
import { Interrupted, MintError } from '../../errors.ts';
import type { KeptKey, Outcome } from '../../keys/key-change.ts';
import { parseKeyFile } from '../../keys/store/key-file.ts';
import { type KeyRecord, lookUp } from '../../keys/store/key-store.ts';
import { publicBlob, publicLine } from '../../keys/store/key-type.ts';
import { openKeyFile } from '../../keys/store/private-key.ts';
import type { MachineId } from '../../keys/store/rotation.ts';
import { type RotationKey, readPrivateKey } from '../../keys/store/store-files.ts';
import { type KeySessions, withKeySessions } from '../../keys/vm-session.ts';
import { knownVm } from '../../settings/settings.ts';
import { vmName } from '../../settings/vm-name.ts';
import type { Login } from '../../ssh-config/login-config.ts';
import { openWithPassphrase } from './passphrase.ts';
import type { KeysRequest } from './request.ts';

/** How many machines to log in to at once. Each login is an ssh and a proxy that mostly wait. */
const atOnce = 6;

/** A machine and the way to log in to it. */
export interface Target extends MachineId {
  readonly region: string | undefined;
  /** The name for the login: one that refers to this machine, or its instance ID. */
  readonly vm: string;
  /** Why no login is tried, such as `it is stopped`; undefined if one is. */
  readonly notTried: string | undefined;
}

export interface OpenedKey extends KeptKey {
  /** The passphrase that the key is stored with. */
  readonly passphrase: string | undefined;
}

/**
 * Opens the key in use, and asks for its passphrase if it has one.
 * @throws MintError `key-passphrase`, `key-store`
 */
export async function openKept(directory: string, name: string): Promise<OpenedKey> {
  const { key, passphrase } = await openWithPassphrase(readPrivateKey(directory, name), name);
  return { ...keptKey(key, name), passphrase };
}

/** Opens the other key of a rotation, which has the same passphrase. */
export async function openOther(
  directory: string,
  name: string,
  role: RotationKey,
  passphrase: string | undefined,
): Promise<KeptKey> {
  const file = parseKeyFile(readPrivateKey(directory, name, role));
  return keptKey(await openKeyFile(file, passphrase), name);
}

/** @param name the comment of its line */
export function keptKey(privateKey: KeyObject, name: string): KeptKey {
  const blob = publicBlob(privateKey);
  return { privateKey, blob, line: publicLine(blob, name).trim() };
}

/** @throws MintError `bad-vm-name`, `vm-not-found` */
export function loginTo({ paths, globals, settings }: KeysRequest, vm: string): Login {
  return { paths, globals, vm: knownVm(settings(), vmName(vm)) };
}

/** The login to a found machine, in its own region; by its instance ID if no name refers to it. */
function loginToTarget(request: KeysRequest, { vm, instance, region }: Target): Login {
  if (vm !== instance || region === undefined) return loginTo(request, vm);
  const globals = { ...request.globals, region };
  return { paths: request.paths, globals, vm: { ...knownVm(request.settings(), vmName(vm)), region } };
}

/** Whether `access` of a VM names this key. */
export function usesKey(access: string | undefined, record: KeyRecord): boolean {
  if (!access?.startsWith('key:')) return false;
  try {
    return lookUp([record], access.slice('key:'.length)) !== undefined;
  } catch (error) {
    if (error instanceof MintError) return false;
    throw error;
  }
}

/**
 * Runs an action on each machine, several at a time. An unreachable machine counts as failed.
 *
 * @returns the outcome of each
 * @throws Interrupted after Ctrl-C, which ends the sessions that run
 */
export async function onEach(
  request: KeysRequest,
  targets: readonly Target[],
  action: (sessions: KeySessions, target: Target) => Promise<Outcome>,
): Promise<Map<Target, Outcome>> {
  const outcomes = new Map<Target, Outcome>();
  const waiting = [...targets];
  let isInterrupted = false;
  // While ssh runs, Ctrl-C ends ssh, and this process continues.
  const interrupt = () => {
    isInterrupted = true;
    waiting.length = 0;
  };
  process.on('SIGINT', interrupt);
  const work = async (): Promise<void> => {
    for (let target = waiting.shift(); target !== undefined; target = waiting.shift()) {
      outcomes.set(target, await onOne(request, target, action));
    }
  };
  try {
    await Promise.all(Array.from({ length: Math.min(atOnce, targets.length) }, work));
  } finally {
    process.off('SIGINT', interrupt);
  }
  if (isInterrupted) {
    say('interrupted');
    hint('run it again to continue');
    throw new Interrupted();
  }
  return outcomes;
}

async function onOne(
  request: KeysRequest,
  target: Target,
  action: (sessions: KeySessions, target: Target) => Promise<Outcome>,
): Promise<Outcome> {
  if (target.notTried !== undefined) return { failed: target.notTried };
  try {
    return await withKeySessions(loginToTarget(request, target), (sessions) => action(sessions, target));
  } catch (error) {
    if (error instanceof MintError) return { failed: `${error.message} (${error.code})` };
    throw error;
  }
}
