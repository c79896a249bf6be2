import { MintError } from '../errors.ts';
import type { Settings, VmSettings } from './settings.ts';

/** The settings of a VM; `name` is one that `vmName` gave. @throws MintError `vm-not-found`, `bad-settings` */
export function knownVm(settings: Settings, name: string): VmSettings {
  const vm = settings.vm(name);
  if (vm !== undefined) return vm;
  const names = settings.vms.slice(0, 10).join(', ');
  throw new MintError('vm-not-found', `no VM is called ${name}`, {
    hint:
      names === '' ? 'ssh.toml has no VMs: add [vm.NAME] with instance and host' : `ssh.toml has ${names}`,
  });
}
