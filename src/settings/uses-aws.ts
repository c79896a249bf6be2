import type { VmSettings } from './settings.ts';

/**
 * @returns whether a login to the VM needs AWS: to find its address, to push a key or to read the console. A VM with
 *   `host`, without `instance`, and with a key that is already installed needs no AWS credentials
 */
export function usesAws({
  host,
  instance,
  access,
  identity,
}: Pick<VmSettings, 'host' | 'instance' | 'access' | 'identity'>): boolean {
  const isPushed = access === undefined || access === 'instance-connect';
  const isJobs = access === 'injected' && identity === undefined;
  return isPushed || instance !== undefined || (host === undefined && !isJobs);
}
