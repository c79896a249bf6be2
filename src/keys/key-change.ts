/** A kept key in authorized_keys on a VM: put there, put in the place of another one, taken away. */
import { MintError } from '../errors.ts';
import type { SigningKey } from '../ssh/key-signature.ts';
import { authorizedKeys, withKey, withoutKeys } from './authorized-keys.ts';
import { type Connect, changeRemoteFile } from './remote-file.ts';
import type { KeySessions } from './vm-session.ts';

/** A key and its line for authorized_keys, without an end. */
export interface KeptKey extends SigningKey {
  readonly line: string;
}

/** `absent`: there was no such key to take away. `failed` is why not, in words of ssh or of the VM. */
export type Outcome = 'done' | 'absent' | { readonly failed: string };

export function isFailed(outcome: Outcome | undefined): outcome is { readonly failed: string } {
  return typeof outcome === 'object';
}

/**
 * Has the VM let `next` in as well, where and how far it lets `old` in, and proves that by a login. The old key
 * stays what it is. Never rejects for what the VM, or the way to it, does.
 */
export async function bringKey(
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
  return isFailed(added) ? added : { failed: `the new key does not let in: ${vm.said}` };
}

/** Has the VM no longer let `old` in; `next` is what logs in for it. Never rejects, either. */
export function takeKey(
  vm: KeySessions,
  name: string,
  { old, next }: { readonly old: KeptKey; readonly next: KeptKey },
): Promise<Outcome> {
  return attempt(vm, async () => {
    const lines = await dropKeys(vm.by(next), name, [old.blob]);
    return lines === 0 ? 'absent' : 'done';
  });
}

/** Adds the key, unless it is there. With `like`, it gets the options of that one's first line: none of its limits goes. */
export async function putKey(connect: Connect, vm: string, key: KeptKey, like?: KeptKey): Promise<void> {
  await changeRemoteFile(connect, { vm, mode: 'change', seconds: 0 }, ({ bytes }) => {
    const lines = authorizedKeys(bytes).filter(({ authority }) => !authority);
    if (lines.some(({ blob }) => blob.equals(key.blob))) return { bytes: undefined, result: undefined };
    const options = lines.find(({ blob }) => like !== undefined && blob.equals(like.blob))?.options ?? '';
    const line = options === '' ? key.line : `${options} ${key.line}`;
    return { bytes: withKey(bytes, line), result: undefined };
  });
}

/** Takes every line of these keys away; gives how many there were. */
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
