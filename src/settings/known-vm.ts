import { MintError } from '../errors.ts';
import type { Settings, VmSettings } from './settings.ts';

/** The settings of a VM; `name` is one that `vmName` gave. @throws MintError `vm-not-found`, `bad-settings` */
export function knownVm(settings: Settings, name: string): VmSettings {
  if (settings.knows(name)) return settings.named(name);
  const names = settings.vms.slice(0, 10).join(', ');
  throw new MintError('vm-not-found', `no VM is called ${name}`, {
    hint:
      names === ''
        ? '`mint-ssh ssh-config` finds your VMs; others you can name in ssh.toml: [vm.NAME] with instance'
        : `ssh.toml has ${names}`,
  });
}
