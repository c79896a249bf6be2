import { mintLogin, ordinaryLogin, type UsualLogin } from '../settings/usual-login.ts';
import type { LocatedVm } from './located-vm.ts';

/**
 * @param vm undefined if AWS was not asked about it
 * @returns Mint's user and port for a VM that Mint tagged; for other VMs the usual user of the image, and port 22
 */
export function usualLogin(vm: Pick<LocatedVm, 'found' | 'isMint' | 'user'> | undefined): UsualLogin {
  if (vm === undefined) return {};
  if (vm.isMint === true || vm.found === 'tag') return mintLogin;
  return { user: vm.user, port: ordinaryLogin.port };
}
