/** The ways that lead to a VM, the preferred one first. */

import { MintError } from '../errors.ts';
import type { VmSettings } from '../settings/settings.ts';
import type { LocatedVm } from './located-vm.ts';

export interface Way {
  /** `endpoint`: a tunnel through an EC2 Instance Connect Endpoint, which reaches `host` from inside the VPC. */
  readonly kind: 'public' | 'private' | 'endpoint';
  /** An address; a host name only where ssh.toml gives one. */
  readonly host: string;
}

/**
 * What `route` makes of the addresses that EC2 shows. A `host` in ssh.toml settles it: the one way is that host.
 *
 * IPv4 goes before IPv6, other than RFC 8305 has it: an instance has an IPv6 address for years before anyone opens
 * its security group to one.
 */
export function waysTo(vm: LocatedVm, { host, route }: Pick<VmSettings, 'host' | 'route'>): Way[] {
  if (host !== undefined) return [{ kind: 'public', host }];
  const inside = endpointAddress(vm);
  const all: Way[] = [
    ...present('public', vm.publicAddress),
    ...present('public', vm.ipv6),
    ...present('private', vm.privateAddress),
    ...present('endpoint', vm.vpc === undefined ? undefined : inside),
  ];
  return route === 'auto' ? all : all.filter(({ kind }) => kind === route);
}

/** @throws MintError `dial-failed` where there is none */
export function needWays(vm: LocatedVm, settings: Pick<VmSettings, 'host' | 'route'>): Way[] {
  const ways = waysTo(vm, settings);
  if (ways.length > 0) return ways;
  const { route } = settings;
  const called = `${vm.name} (${vm.instance})`;
  throw route === 'auto'
    ? new MintError('dial-failed', `${called} has no address`, {
        hint: `give the instance an address, or set host for [vm.${vm.name}] in ssh.toml`,
      })
    : new MintError('dial-failed', `${called} has no ${described[route]}`, {
        hint: `set route for [vm.${vm.name}] in ssh.toml: "auto" takes what there is`,
      });
}

/** Where an endpoint reaches the VM. */
export function endpointAddress(vm: LocatedVm): string | undefined {
  return vm.privateAddress ?? vm.ipv6;
}

const described = {
  public: 'public address',
  private: 'private address',
  endpoint: 'address that an endpoint could reach',
} as const;

function present(kind: Way['kind'], host: string | undefined): Way[] {
  return host === undefined ? [] : [{ kind, host }];
}
