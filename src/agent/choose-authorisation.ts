/**
 * Which authorisation a connection has: what ssh.toml says (`access`, `identity`) wins; else a key that is kept
 * here under the instance's own KeyName is served; else an ephemeral key is pushed.
 */
import { loadSettings, type VmSettings } from '../settings/settings.ts';
import type { Authorisation, Login } from './authorisation.ts';
import { givenAuthorisation } from './given-authorisation.ts';
import { identityKey } from './identity-key.ts';
import { JobAuthorisation } from './job-authorisation.ts';
import { ManagedAuthorisation } from './managed-authorisation.ts';
import { ephemeralKey, PushedAuthorisation } from './pushed-authorisation.ts';
import type { Services } from './services.ts';
import type { Vm } from './vm.ts';

const keyPrefix = 'key:';

/** The profile of `access = "key:…"`. */
export function profileOf({ access }: Pick<VmSettings, 'access'>): string | undefined {
  return access?.startsWith(keyPrefix) ? access.slice(keyPrefix.length) : undefined;
}

/** Before it is known where the connection goes. @throws MintError where the settings cannot be followed */
export function expectAuthorisation(services: Services, login: Login): Authorisation {
  if (login.isEstablished) return nothingGranted;
  const { access, identity } = login.settings;
  const profile = profileOf(login.settings);
  if (profile !== undefined) return new ManagedAuthorisation(services, login, { profile });
  if (access === 'injected') {
    return identity === undefined
      ? new JobAuthorisation(services, login)
      : givenAuthorisation(login, identity);
  }
  const key = identity === undefined ? ephemeralKey(login) : identityKey(login, identity);
  return new PushedAuthorisation(services, login, key);
}

/** Once that is known, and again where it changes. @param standing is replaced where the KeyName says another */
export function chooseAuthorisation(
  services: Services,
  login: Login,
  standing: Authorisation,
): Authorisation {
  const { vm, settings, isEstablished, caller } = login;
  if (isEstablished || settings.access !== undefined || settings.identity !== undefined) return standing;
  const { keyName } = login.place();
  vm.keyName = keyName !== undefined && services.managedKeys.has(caller, keyName) ? keyName : undefined;
  const served = standing instanceof ManagedAuthorisation ? standing.awsKeyName : undefined;
  if (served === vm.keyName) return standing;
  standing.settle();
  return vm.keyName === undefined
    ? expectAuthorisation(services, login)
    : new ManagedAuthorisation(services, login, { awsKeyName: vm.keyName });
}

/** The public key that the next connection to a VM will be served, for clients that list before they connect. */
export function expectedKey(services: Services, vm: Vm): Buffer | undefined {
  const { access, identity, ...settings } = loadSettings(services.paths, {}).named(vm.name);
  const profile = profileOf({ access });
  const awsKeyName = access === undefined ? vm.keyName : undefined;
  const which = profile !== undefined ? { profile } : awsKeyName !== undefined ? { awsKeyName } : undefined;
  if (identity !== undefined) return undefined;
  if (which !== undefined) return services.managedKeys.listed(process.env, which, settings.name);
  if (access === 'injected')
    return services.jobs.open.includes(vm.name) ? services.jobs.key(vm.name).blob : undefined;
  return vm.key.list().blob;
}

/** For a session that stands: it was let in by an agent that is gone. */
const nothingGranted: Authorisation = {
  fingerprint: undefined,
  requestId: undefined,
  isSignedElsewhere: false,
  listed: undefined,
  signingKey: undefined,
  remaining: 0,
  refusal: { code: 'login-refused', message: 'the login was over before', hint: 'connect again' },
  begin: async () => {},
  begun: async () => {},
  follow: () => {},
  grant: async () => undefined,
  settle: () => {},
  noteLogin: () => {},
};
