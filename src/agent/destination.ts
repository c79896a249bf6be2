/** Where one connection goes: found by name, confirmed by EC2 while it begins, found anew where it leads nowhere. */

import { setTimeout as sleep } from 'node:timers/promises';
import type { TunnelReply } from '../aws/requests.ts';
import { MintError } from '../errors.ts';
import type { Caller } from '../platform/caller.ts';
import type { VmSettings } from '../settings/settings.ts';
import { approvedNames } from '../ssh-config/approvals.ts';
import { type Candidate, candidatesFor, hostCandidate, requireCandidates } from '../vms/candidates.ts';
import { namesakeNotice } from '../vms/choose.ts';
import type { LocatedVm } from '../vms/located-vm.ts';
import { isDefinite, type Wanted } from '../vms/names.ts';
import type { AskPerson } from './questions.ts';
import type { Services } from './services.ts';
import { isUp, setupNotice } from './starts.ts';

export interface Place {
  /** The preferred one first; never empty. */
  readonly candidates: readonly Candidate[];
  /** Undefined for a machine that AWS has no part in. */
  readonly instance: string | undefined;
  /** What EC2 calls the key that the instance was launched with. */
  readonly keyName?: string | undefined;
  readonly account: string | undefined;
  readonly region: string | undefined;
  /** Another one: it is another instance, or was started in between. */
  readonly serial: number;
}

/** How long a connection waits for EC2 to confirm what the cache says, in milliseconds. */
const confirmLimit = 2000;
/** The same where nobody answers at the cached address: without EC2's word there is no connection at all. */
const renewLimit = 8000;

export interface Traveller {
  readonly caller: Caller;
  readonly settings: VmSettings;
  /** Whether ssh.toml has the VM: then the name is the person's own word. */
  readonly isInFile: boolean;
  /** The user typed the name to mint-ssh. */
  readonly byName: boolean;
  /** A session that stands already, for a new agent to know: nothing is started for it. */
  readonly isEstablished: boolean;
  readonly port: number;
  readonly ask: AskPerson;
  /** One line for the person. */
  readonly tell: (line: string) => void;
}

export class Destination {
  readonly #services: Services;
  readonly #traveller: Traveller;
  readonly #wanted: Wanted;
  #vm: LocatedVm | undefined;
  readonly #openedAt = Date.now();
  #serial = 0;
  #arriving: Promise<Place> | undefined;
  #reviving: Promise<Place> | undefined;
  #toldOf: string | undefined;

  constructor(services: Services, traveller: Traveller) {
    const { caller, settings } = traveller;
    this.#services = services;
    this.#traveller = traveller;
    this.#wanted = {
      caller,
      settings,
      byNameTag: traveller.isInFile || traveller.byName || isApproved(services, settings),
    };
  }

  /** ssh.toml says both: EC2 is asked only where the instance turns out not to run. */
  get #isFixed(): boolean {
    const { host, instance } = this.#traveller.settings;
    return host !== undefined && instance !== undefined;
  }

  /** Found by Mint's tag as the caller's own. */
  get isOwnByTag(): boolean {
    return this.#vm?.found === 'tag';
  }

  /** Undefined until `find` has found it. */
  get place(): Place | undefined {
    const { settings } = this.#traveller;
    const { host, instance, region, via } = settings;
    if (this.#vm !== undefined) {
      const { account } = this.#vm;
      return {
        candidates: requireCandidates(this.#vm, settings),
        instance: this.#vm.instance,
        keyName: this.#vm.keyName,
        account,
        region: this.#vm.region,
        serial: this.#serial,
      };
    }
    if (host === undefined || instance === undefined) return undefined;
    const candidates: readonly Candidate[] = [hostCandidate(host, via)];
    return { candidates, instance, account: undefined, region, serial: this.#serial };
  }

  /**
   * Finds the VM; `sure` is false where what the cache says has yet to be confirmed.
   * @throws MintError `vm-not-found`, `vm-ambiguous`, `vm-not-running`, `dial-failed`, `aws-…`
   */
  async find(): Promise<{ readonly place: Place; readonly sure: boolean }> {
    const { place } = this;
    if (place !== undefined) return { place, sure: true };
    const cached = this.#services.names.cached(this.#wanted);
    if (
      cached !== undefined &&
      isUp(cached.vm) &&
      !this.#services.starts.isStarting(cached.vm.instance, this.#traveller.port) &&
      candidatesFor(cached.vm, this.#wanted.settings).length > 0
    ) {
      const found = this.#settle(cached.vm);
      this.#tellOfSetup(cached.vm);
      return { place: found, sure: cached.fresh };
    }
    return { place: await this.#look(), sure: true };
  }

  /**
   * Asks EC2 whether what the cache said still holds, and waits a moment for the answer; without one the cache
   * counts. @throws MintError where EC2 says that it no longer does, and nothing takes its place
   */
  async confirm(limit = confirmLimit): Promise<Place> {
    const before = this.place;
    const looked = this.#services.names.look(this.#wanted).catch((error: unknown) => {
      if (isDefinite(error)) throw error;
      return undefined;
    });
    const { caller, settings } = this.#traveller;
    // The limit is AWS's. A user who has to type an MFA code first takes longer.
    await this.#services.aws.ready(caller, settings).catch(() => {});
    const vm = await Promise.race([looked, sleep(limit, undefined, { ref: false })]);
    if (vm !== undefined) return this.#arrive(vm);
    if (before === undefined) throw new MintError('dial-failed', 'there is no address to go back to');
    return before;
  }

  /**
   * What was found leads nowhere: nobody answers there, or AWS does not know it. Asks EC2 unless it has just been
   * asked, and starts the VM where it is stopped. @throws MintError as `confirm`
   */
  async renew(): Promise<Place> {
    const { place } = this;
    const standing = this.#reviving ?? this.#arriving;
    if (standing !== undefined) {
      return standing.catch((error: unknown) => {
        const isOver = error instanceof MintError && error.code === 'vm-not-running';
        if (place === undefined || isOver) throw error;
        return place;
      });
    }
    const isNews = this.#vm !== undefined && this.#vm.seenAt >= this.#openedAt;
    if (place !== undefined && (this.#isFixed || isNews)) return place;
    return this.confirm(renewLimit);
  }

  /** The machine there shows an unexpected key: asks EC2 unless it has just been asked. @throws MintError as `confirm` */
  async recheck(): Promise<void> {
    if (!this.#isFixed && this.#vm !== undefined && this.#vm.seenAt < this.#openedAt) await this.confirm();
  }

  /**
   * A tunnel to the VM, through an endpoint of its VPC; its address is good for a minute.
   * @throws MintError `dial-failed` where there is no endpoint, `aws-…`
   */
  async tunnel(): Promise<TunnelReply> {
    const { caller, settings, port } = this.#traveller;
    const { vpc, subnet, zone } = this.#vm ?? {};
    const { privateAddress: ipv4, ipv6 } = this.#vm ?? {};
    if (vpc === undefined || (ipv4 === undefined && ipv6 === undefined)) {
      throw new MintError('dial-failed', `the VPC of ${settings.name} is unknown`);
    }
    const { region, profile } = settings;
    return await this.#services.aws.tunnel(caller, { region, profile, vpc, subnet, zone, ipv4, ipv6, port });
  }

  /** AWS says that the instance does not run. @throws MintError where it cannot be, or is not to be, started */
  revive(): Promise<Place> {
    this.#reviving ??= this.#look().finally(() => {
      this.#reviving = undefined;
    });
    return this.#reviving;
  }

  async #look(): Promise<Place> {
    return this.#arrive(await this.#services.names.look(this.#wanted));
  }

  #arrive(vm: LocatedVm): Promise<Place> {
    this.#arriving ??= this.#bring(vm).finally(() => {
      this.#arriving = undefined;
    });
    return this.#arriving;
  }

  async #bring(vm: LocatedVm): Promise<Place> {
    const { settings, port, caller, ask, tell } = this.#traveller;
    this.#tellOfSetup(vm);
    const { starts } = this.#services;
    const isReady = isUp(vm) && !starts.isStarting(vm.instance, port);
    if (isReady || this.#traveller.isEstablished) return this.#settle(vm);
    const up = await starts.bringUp(vm, {
      settings,
      port,
      caller,
      ask,
      tell,
      wanted: this.#wanted,
    });
    this.#serial += 1;
    return this.#settle(up);
  }

  /** Checks that it has an address before anything rests on it. */
  #settle(vm: LocatedVm): Place {
    requireCandidates(vm, this.#traveller.settings);
    if (this.#vm !== undefined && this.#vm.instance !== vm.instance) this.#serial += 1;
    this.#vm = vm;
    const { place } = this;
    if (place === undefined) throw new MintError('dial-failed', `${vm.name} has no address`);
    return place;
  }

  /** Mint's own word on a VM that is not set up yet. */
  #tellOfSetup(vm: LocatedVm): void {
    const notice = namesakeNotice(vm) ?? setupNotice(vm);
    if (notice !== undefined && notice !== this.#toldOf) this.#traveller.tell(notice);
    this.#toldOf = notice;
  }
}

/** The client has met the machine at the old address: from there no way leads to the new one in this connection. */
export function moved(vm: string, from: string, { candidates }: Place): MintError {
  const to = candidates[0]?.host ?? 'nowhere';
  return new MintError('dial-failed', `${vm} has just moved from ${from} to ${to}`, {
    hint: 'connect again',
  });
}

/** @returns whether `host` is one of the place's candidates */
export function leadsTo({ candidates }: Place, host: string): boolean {
  return candidates.some((way) => way.host === host);
}

function isApproved({ paths, log }: Services, { name }: VmSettings): boolean {
  try {
    return approvedNames(paths).has(name);
  } catch (error) {
    log(`${name}: cannot read which names are approved: ${String(error)}`);
    return false;
  }
}
