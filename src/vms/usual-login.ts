import { mintLogin, ordinaryLogin, type UsualLogin } from '../settings/usual-login.ts';
import type { LocatedVm } from './located-vm.ts';

/**
 * Mint's user and port for a VM that Mint tagged; for every other VM the user that its image comes with, and port 22.
 * @param vm undefined where AWS has not been asked about it
 */
export function usualLogin(vm: Pick<LocatedVm, 'found' | 'isMint' | 'user'> | undefined): UsualLogin {
  if (vm === undefined) return {};
  if (vm.isMint === true || vm.found === 'tag') return mintLogin;
  return { user: vm.user, port: ordinaryLogin.port };
}
