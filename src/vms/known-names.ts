import { thisCaller } from '../platform/caller.ts';
import type { Paths } from '../platform/paths.ts';
import { writtenNames } from '../settings/approved-names.ts';
import { loadSettings, type SettingsFlags } from '../settings/settings.ts';
import { listCached } from './list-vms.ts';
import { VmCache } from './vm-cache.ts';

/**
 * The names of all VMs in ssh.toml, our blocks and the cache, for completion and suggestions. It makes no AWS calls.
 *
 * @param flags the options of the command line: each account and region has its own cache
 * @returns an empty set if the files cannot be read
 */
export function knownNames(paths: Paths, flags: SettingsFlags = {}): ReadonlySet<string> {
  try {
    const settings = loadSettings(paths, flags);
    const caller = thisCaller();
    const cached = listCached(new VmCache(paths), { caller, settings }).vms.keys();
    return new Set([...settings.vms, ...writtenNames(paths).all, ...cached]);
  } catch {
    return new Set();
  }
}
