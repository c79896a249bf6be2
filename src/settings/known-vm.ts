import { MintError } from '../errors.ts';
import type { Settings, VmSettings } from './settings.ts';

/**
 * @param name as `vmName` returned it
 * @returns the VM's settings
 * @throws MintError `vm-not-found`, `bad-settings`
 */
export function knownVm(settings: Settings, name: string): VmSettings {
  if (settings.knows(name)) return settings.named(name);
  const names = settings.vms.slice(0, 10).join(', ');
  throw new MintError('vm-not-found', `no VM is called ${name}`, {
    hint:
      names === ''
        ? '`mint-ssh ssh-config` finds your VMs; to add another one, write [vm.NAME] with instance in ssh.toml'
        : `ssh.toml has ${names}`,
  });
}
