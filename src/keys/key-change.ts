/** Adds, replaces or removes a managed key in authorized_keys on a VM. */
import { MintError } from '../errors.ts';
import type { SigningKey } from '../ssh/key-signature.ts';
import { authorizedKeys, withKey, withoutKeys } from './authorized-keys.ts';
import { type Connect, changeRemoteFile, NoSession } from './remote-file.ts';
import type { KeySessions } from './vm-session.ts';

/** A key and its line for authorized_keys, without a line end. */
export interface KeptKey extends SigningKey {
  readonly line: string;
}

/** `absent`: the key to remove was not in the file. `failed`: the reason, as ssh or the VM reported it. */
export type Outcome = 'done' | 'absent' | { readonly failed: string };

/** Whether an outcome has a reason for its failure. */
export function isFailed(outcome: Outcome | undefined): outcome is { readonly failed: string } {
  return typeof outcome === 'object';
}

/**
 * Adds `next` to the VM with the options of `old`, and proves it by a login. The old key stays.
 *
 * @returns `failed` for any failure of the VM or of the connection
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
  // An earlier run may have added the new key already and removed the old one.
  if (isFailed(added) && !vm.wasAsked) return added;
  if (await vm.proves(next)) return 'done';
  return isFailed(added) ? added : { failed: `the new key is not accepted: ${vm.said}` };
}

/**
 * Removes `old` from the VM through a login with `next`, and proves it: a login with `old` must be refused.
 *
 * @returns `failed` for any failure of the VM or of the connection, also if another file still authorizes the old key
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
 * Adds the key, unless it is in the file.
 *
 * @param like the key whose first line gives the options, so that the new line has the same restrictions
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

/**
 * Removes every line of these keys.
 * @returns the number of removed lines
 */
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
    return { failed: error instanceof NoSession ? vm.said : error.message };
  }
}
