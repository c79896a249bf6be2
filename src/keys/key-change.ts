/** A managed key in authorized_keys on a VM: added, replaced by another one, removed. */
import { MintError } from '../errors.ts';
import type { SigningKey } from '../ssh/key-signature.ts';
import { authorizedKeys, withKey, withoutKeys } from './authorized-keys.ts';
import { type Connect, changeRemoteFile } from './remote-file.ts';
import type { KeySessions } from './vm-session.ts';

/** A key and its line for authorized_keys, without an end. */
export interface KeptKey extends SigningKey {
  readonly line: string;
}

/** `absent`: there was no such key to remove. `failed` is the reason, in words of ssh or of the VM. */
export type Outcome = 'done' | 'absent' | { readonly failed: string };

export function isFailed(outcome: Outcome | undefined): outcome is { readonly failed: string } {
  return typeof outcome === 'object';
}

/**
 * Has the VM accept `next` as well, where and how far it accepts `old`, and proves that by a login. The old key stays.
 *
 * @returns `failed` for anything that the VM, or the way to it, does
 */
export async function installKey(
  vm: KeySessions,
  name: string,
  { old, next }: { readonly old: KeptKey; readonly next: KeptKey },
): Promise<Outcome> {
  const added = await attempt(vm, async () => {
    await putKey(vm.by(old), name, next, old);
    return 'done';
  });
  // A VM that was reached may have the new key already, and no longer the old one.
  if (isFailed(added) && !vm.wasAsked) return added;
  if (await vm.proves(next)) return 'done';
  return isFailed(added) ? added : { failed: `the new key is not accepted: ${vm.said}` };
}

/**
 * Has the VM no longer accept `old`, and proves that by a login with it that is refused; `next` logs in to do so.
 *
 * @returns `failed` likewise, also where the old key is still accepted from another file
 */
export async function removeOldKey(
  vm: KeySessions,
  name: string,
  { old, next }: { readonly old: KeptKey; readonly next: KeptKey },
): Promise<Outcome> {
  const removed = await attempt(vm, async () => {
    const lines = await dropKeys(vm.by(next), name, [old.blob]);
    return lines === 0 ? 'absent' : 'done';
  });
  if (isFailed(removed)) return removed;
  switch (await vm.tries(old)) {
    case 'refused':
      return removed;
    case 'accepted':
      return { failed: 'it still accepts the old key, from a file other than ~/.ssh/authorized_keys' };
    case 'unknown':
      return { failed: `it was not shown that the old key is refused: ${vm.said}` };
  }
}

/**
 * Adds the key, unless it is there.
 *
 * @param like its first line has the options for the new one, so that no limit is lost
 * @returns whether a line was added
 */
export function putKey(connect: Connect, vm: string, key: KeptKey, like?: KeptKey): Promise<boolean> {
  return changeRemoteFile(connect, { vm, mode: 'change', seconds: 0 }, ({ bytes }) => {
    const lines = authorizedKeys(bytes).filter(({ authority }) => !authority);
    if (lines.some(({ blob }) => blob.equals(key.blob))) return { bytes: undefined, result: false };
    const options = lines.find(({ blob }) => like !== undefined && blob.equals(like.blob))?.options ?? '';
    const line = options === '' ? key.line : `${options} ${key.line}`;
    return { bytes: withKey(bytes, line), result: true };
  });
}

/** Removes every line of these keys. @returns how many there were */
export function dropKeys(connect: Connect, vm: string, blobs: readonly Buffer[]): Promise<number> {
  return changeRemoteFile(connect, { vm, mode: 'remove', seconds: 0 }, ({ bytes }) => {
    const gone = authorizedKeys(bytes).filter(
      ({ blob, authority }) => !authority && blobs.some((one) => one.equals(blob)),
    );
    return { bytes: gone.length === 0 ? undefined : withoutKeys(bytes, gone), result: gone.length };
  });
}

async function attempt(vm: KeySessions, action: () => Promise<Outcome>): Promise<Outcome> {
  try {
    return await action();
  } catch (error) {
    if (!(error instanceof MintError)) throw error;
    const noSession = error.code === 'io-failed' && /^no session/.test(error.message);
    return { failed: noSession ? vm.said : error.message };
  }
}
