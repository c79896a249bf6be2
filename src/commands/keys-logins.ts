/** Kept keys in logins: opened once, and the VMs that they let in to. */
import type { KeyObject } from 'node:crypto';
import { MintError } from '../errors.ts';
import type { KeptKey, Outcome } from '../keys/key-change.ts';
import type { RotationKey } from '../keys/store/journal.ts';
import { parseKeyFile } from '../keys/store/key-file.ts';
import { lookUp, readPrivateKey } from '../keys/store/key-store.ts';
import { publicBlob, publicLine } from '../keys/store/key-type.ts';
import type { KeyRecord } from '../keys/store/metadata.ts';
import { openKeyFile } from '../keys/store/private-key.ts';
import { type KeySessions, withKeySessions } from '../keys/vm-session.ts';
import { knownVm } from '../settings/known-vm.ts';
import { vmName } from '../settings/vm-name.ts';
import type { Login } from '../ssh-config/login-config.ts';
import { openWithPassphrase } from './keys-passphrase.ts';
import type { KeysRequest } from './keys-request.ts';

/** VMs that are logged in to at a time: each is an ssh and a proxy, and waits rather than works. */
const atOnce = 6;

export interface OpenedKey extends KeptKey {
  /** The one it is kept under. */
  readonly passphrase: string | undefined;
}

/** The key in use; asks for its passphrase, where it has one. @throws MintError `key-passphrase`, `key-store` */
export async function openKept(directory: string, name: string): Promise<OpenedKey> {
  const { key, passphrase } = await openWithPassphrase(readPrivateKey(directory, name), name);
  return { ...keptKey(key, name), passphrase };
}

/** The other key of a rotation, which is kept under the same passphrase. */
export async function openOther(
  directory: string,
  name: string,
  role: RotationKey,
  passphrase: string | undefined,
): Promise<KeptKey> {
  const file = parseKeyFile(readPrivateKey(directory, name, role));
  return keptKey(await openKeyFile(file, passphrase), name);
}

export function keptKey(privateKey: KeyObject, name: string): KeptKey {
  const blob = publicBlob(privateKey);
  return { privateKey, blob, line: publicLine(blob, name).trim() };
}

/** @throws MintError `bad-vm-name`, `vm-not-found` */
export function loginTo({ paths, globals, settings }: KeysRequest, vm: string): Login {
  return { paths, globals, vm: knownVm(settings(), vmName(vm)) };
}

/** The instances that metadata.json names, and the VMs whose `access` in ssh.toml is this key. */
export function instancesOf({ settings }: KeysRequest, record: KeyRecord): string[] {
  const all = settings();
  const configured = all.vms.filter((vm) => usesKey(all.named(vm).access, record));
  return [...new Set([...record.instances.map(plainName), ...configured])];
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

/** As `vmName` has it; whatever else stands there stays as it is, and is no VM. */
export function plainName(instance: string): string {
  try {
    return vmName(instance);
  } catch {
    return instance;
  }
}

/**
 * Does something on each of the VMs, several at a time. What is no VM of ours has failed like one that is down.
 * @throws MintError `io-failed` after Ctrl-C, which ends the sessions that run
 */
export async function onEach(
  request: KeysRequest,
  vms: readonly string[],
  action: (sessions: KeySessions, vm: string) => Promise<Outcome>,
): Promise<Map<string, Outcome>> {
  const outcomes = new Map<string, Outcome>();
  const waiting = [...vms];
  let isInterrupted = false;
  // While an ssh runs it is ssh that the terminal's signal ends, and not us.
  const interrupt = () => {
    isInterrupted = true;
    waiting.length = 0;
  };
  process.on('SIGINT', interrupt);
  const work = async (): Promise<void> => {
    for (let vm = waiting.shift(); vm !== undefined; vm = waiting.shift()) {
      outcomes.set(vm, await onOne(request, vm, action));
    }
  };
  try {
    await Promise.all(Array.from({ length: Math.min(atOnce, vms.length) }, work));
  } finally {
    process.off('SIGINT', interrupt);
  }
  if (isInterrupted) throw new MintError('io-failed', 'interrupted', { hint: 'run it again to go on' });
  return outcomes;
}

async function onOne(
  request: KeysRequest,
  vm: string,
  action: (sessions: KeySessions, vm: string) => Promise<Outcome>,
): Promise<Outcome> {
  try {
    return await withKeySessions(loginTo(request, vm), (sessions) => action(sessions, vm));
  } catch (error) {
    if (error instanceof MintError) return { failed: `${error.message} (${error.code})` };
    throw error;
  }
}
