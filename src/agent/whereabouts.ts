/** Where a connection goes: to what AWS knows by that name, or to a machine that has nothing to do with AWS. */

import { MintError } from '../errors.ts';
import { hasPartInAws } from '../settings/uses-aws.ts';
import { hostCandidate } from '../vms/candidates.ts';
import { Destination, type Place, type Traveller } from './destination.ts';
import type { Services } from './services.ts';

export type Whereabouts = Pick<
  Destination,
  'find' | 'confirm' | 'renew' | 'recheck' | 'revive' | 'tunnel' | 'place' | 'isOwnByTag'
>;

/** A VM that AWS has no part in is where ssh.toml, or its job, says. */
export function whereabouts(services: Services, traveller: Traveller): Whereabouts {
  const { name, host, access, identity, via } = traveller.settings;
  if (hasPartInAws(traveller.settings)) return new Destination(services, traveller);
  const isJobs = access === 'injected' && identity === undefined;
  return elsewhere(name, via, () => (isJobs || host === undefined ? jobHost(services, name, host) : host));
}

/** @throws MintError `job-not-found`, `job-lost`, and `dial-failed` where nobody has said it yet */
function jobHost({ jobs }: Services, name: string, host: string | undefined): string {
  jobs.key(name);
  if (host !== undefined) return host;
  throw new MintError('dial-failed', `where the VM of job ${name} is has not been said yet`, {
    hint: `mint-ssh job set ${name} --host ADDRESS`,
  });
}

function elsewhere(name: string, via: string | undefined, where: () => string): Whereabouts {
  let place: Place | undefined;
  const find = async () => {
    place ??= {
      candidates: [hostCandidate(where(), via)],
      instance: undefined,
      account: undefined,
      region: undefined,
      serial: 0,
    };
    return place;
  };
  const unknown = async () => {
    throw new MintError('dial-failed', `${name} is a machine that AWS has no part in`);
  };
  return {
    get place() {
      return place;
    },
    isOwnByTag: false,
    find: async () => ({ place: await find(), sure: true }),
    confirm: find,
    renew: find,
    recheck: async () => {},
    revive: unknown,
    tunnel: unknown,
  };
}
