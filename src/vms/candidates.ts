/** The addresses at which a proxy may reach a VM, the preferred one first. */

import { MintError } from '../errors.ts';
import type { VmSettings } from '../settings/settings.ts';
import type { LocatedVm } from './located-vm.ts';

export interface Candidate {
  /**
   * `endpoint`: a tunnel through an EC2 Instance Connect Endpoint, which connects to `host` from inside the VPC.
   * `via`: `ssh -W` through a jump host, which connects to `host`.
   */
  readonly kind: 'public' | 'private' | 'endpoint' | 'via';
  /** An IP address; a host name only if ssh.toml has one. */
  readonly host: string;
  /** The jump host, by its name in the user's ssh config; set only for the kind `via`. */
  readonly via?: string | undefined;
}

type RouteSettings = Pick<VmSettings, 'host' | 'route' | 'via'>;

/**
 * Chooses among the addresses that EC2 shows, by `route`. A `host` in ssh.toml is the only candidate. With `via` there
 * is one candidate: the private address, unless `route` is public.
 *
 * IPv4 comes before IPv6, unlike RFC 8305: the security groups of many instances with an IPv6 address allow IPv4 only.
 *
 * @returns the candidates, the preferred one first; empty if the VM has no suitable address
 */
export function candidatesFor(vm: LocatedVm, { host, route, via }: RouteSettings): Candidate[] {
  if (host !== undefined) return [hostCandidate(host, via)];
  const inside = endpointAddress(vm);
  if (via !== undefined) {
    const outside = vm.publicAddress ?? vm.ipv6;
    const address = route === 'public' ? outside : route === 'private' ? inside : (inside ?? outside);
    return address === undefined ? [] : [hostCandidate(address, via)];
  }
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
export function requireCandidates(vm: LocatedVm, settings: RouteSettings): Candidate[] {
  const candidates = candidatesFor(vm, settings);
  if (candidates.length > 0) return candidates;
  const { route } = settings;
  const called = `${vm.name} (${vm.instance})`;
  throw route === 'auto'
    ? new MintError('dial-failed', `${called} has no address`, {
        hint: `give the instance an address, or set host for [vm.${vm.name}] in ssh.toml`,
      })
    : new MintError('dial-failed', `${called} has no ${described[route]}`, {
        hint: `set route for [vm.${vm.name}] in ssh.toml: "auto" uses the addresses that it has`,
      });
}

/** @returns the only candidate of a VM with `host` in ssh.toml, or of a job */
export function hostCandidate(host: string, via: string | undefined): Candidate {
  return via === undefined ? { kind: 'public', host } : { kind: 'via', host, via };
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

/** @returns whether this machine connects to the address itself, so that the agent can check whether sshd answers */
export function isDirect({ kind }: Candidate): boolean {
  return kind === 'public' || kind === 'private';
}
