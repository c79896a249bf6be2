/** The addresses under which a proxy may reach a VM, the preferred one first. */

import { MintError } from '../errors.ts';
import type { VmSettings } from '../settings/settings.ts';
import type { LocatedVm } from './located-vm.ts';

export interface Candidate {
  /** `endpoint`: a tunnel through an EC2 Instance Connect Endpoint, which reaches `host` from inside the VPC. */
  readonly kind: 'public' | 'private' | 'endpoint';
  /** An address; a host name only if ssh.toml gives one. */
  readonly host: string;
}

/**
 * Chooses by `route` among the addresses that EC2 shows. A `host` in ssh.toml is the only candidate.
 *
 * IPv4 comes before IPv6, unlike RFC 8305: many instances have an IPv6 address while their security group admits
 * IPv4 only.
 */
export function candidatesFor(
  vm: LocatedVm,
  { host, route }: Pick<VmSettings, 'host' | 'route'>,
): Candidate[] {
  if (host !== undefined) return [{ kind: 'public', host }];
  const inside = endpointAddress(vm);
  const all: Candidate[] = [
    ...present('public', vm.publicAddress),
    ...present('public', vm.ipv6),
    ...present('private', vm.privateAddress),
    ...present('endpoint', vm.vpc === undefined ? undefined : inside),
  ];
  return route === 'auto' ? all : all.filter(({ kind }) => kind === route);
}

/**
 * @returns the candidates, at least one
 * @throws MintError `dial-failed` if there is none
 */
export function requireCandidates(vm: LocatedVm, settings: Pick<VmSettings, 'host' | 'route'>): Candidate[] {
  const candidates = candidatesFor(vm, settings);
  if (candidates.length > 0) return candidates;
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

/** @returns the address that an EC2 Instance Connect Endpoint connects to */
function endpointAddress(vm: LocatedVm): string | undefined {
  return vm.privateAddress ?? vm.ipv6;
}

const described = {
  public: 'public address',
  private: 'private address',
  endpoint: 'address that an endpoint could reach',
} as const;

function present(kind: Candidate['kind'], host: string | undefined): Candidate[] {
  return host === undefined ? [] : [{ kind, host }];
}

/** Whether this machine connects to the address itself, so that the agent can see whether sshd answers. */
export function isDirect({ kind }: Candidate): boolean {
  return kind === 'public' || kind === 'private';
}
