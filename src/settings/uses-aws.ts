import type { VmSettings } from './settings.ts';

/**
 * Whether AWS has a part in a VM: it says where the VM is, takes the key that is pushed, or shows its host key. With
 * an address, no instance, and a key that the VM has already, it has none, and nobody needs credentials.
 */
export function hasPartInAws({
  host,
  instance,
  access,
  identity,
}: Pick<VmSettings, 'host' | 'instance' | 'access' | 'identity'>): boolean {
  const isPushed = access === undefined || access === 'instance-connect';
  const isJobs = access === 'injected' && identity === undefined;
  return isPushed || instance !== undefined || (host === undefined && !isJobs);
}
