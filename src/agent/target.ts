/**
 * The target of one connection: from the name of a VM to the instance and its candidate addresses. EC2 confirms what
 * the cache says while the connection is being made, and is asked again if no candidate answers.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { TunnelReply } from '../aws/requests.ts';
import { MintError } from '../errors.ts';
import type { Caller } from '../platform/caller.ts';
import { usesAws, type VmSettings } from '../settings/settings.ts';
import { approvedNames } from '../ssh-config/approvals.ts';
import { type Candidate, candidatesFor, hostCandidate, requireCandidates } from '../vms/candidates.ts';
import { isRunning, type LocatedVm, namesakeNotice, setupNotice } from '../vms/located-vm.ts';
import { isDefinite, type Wanted } from '../vms/names.ts';
import type { AgentContext } from './context.ts';
import type { Jobs } from './jobs.ts';
import type { AskUser } from './prompt.ts';
import type { InstanceStarts } from './start-instance.ts';

/** How long a connection waits for EC2 to confirm what the cache says. */
const confirmLimitMs = 2000;
/** How long it waits if no cached candidate answers: without EC2's reply there is no connection at all. */
const refreshLimitMs = 8000;

export interface TargetContext extends AgentContext {
  readonly starts: InstanceStarts;
  readonly jobs: Jobs;
}

/** What one connection asks for. */
export interface TargetRequest {
  readonly caller: Caller;
  readonly settings: VmSettings;
  /** Whether ssh.toml has the VM: then the user has written the name themselves. */
  readonly isInFile: boolean;
  /** The user typed the name to mint-ssh. */
  readonly byName: boolean;
  /** A session that is open already, reported to a new agent: no instance is started for it. */
  readonly isEstablished: boolean;
  readonly port: number;
  readonly ask: AskUser;
  /** Shows the user one line. */
  readonly tell: (line: string) => void;
}

/** Where a name leads now. */
export interface ResolvedTarget {
  /** The preferred one first; never empty. */
  readonly candidates: readonly Candidate[];
  /** Undefined for a machine that is not an EC2 instance. */
  readonly instance: string | undefined;
  /** The `KeyName` with which the instance was launched. */
  readonly keyName?: string | undefined;
  readonly account: string | undefined;
  readonly region: string | undefined;
  /** Changes if the name leads to another instance, or if the instance was started in between. */
  readonly serial: number;
}

export interface Target {
  /** Undefined until `find` has found it. */
  readonly resolved: ResolvedTarget | undefined;
  /** Found by Mint's tag as one of the caller's own VMs. */
  readonly isOwnByTag: boolean;
  /**
   * Finds the VM.
   * @returns `sure`: false if the result is from the cache and EC2 has yet to confirm it
   * @throws MintError `vm-not-found`, `vm-ambiguous`, `vm-not-running`, `dial-failed`, `aws-…`
   */
  find(): Promise<{ readonly resolved: ResolvedTarget; readonly sure: boolean }>;
  /**
   * Asks EC2 whether the cached result still holds, and keeps that result if no reply comes in time.
   * @throws MintError `vm-not-found`, `vm-ambiguous` or `vm-not-running` if it does not, and there is no replacement
   */
  confirm(): Promise<ResolvedTarget>;
  /**
   * No candidate answers, or AWS does not know the instance. Asks EC2 unless it has just been asked, and starts the VM
   * if it is stopped.
   * @throws MintError as `confirm`
   */
  refresh(): Promise<ResolvedTarget>;
  /**
   * The server presents an unexpected host key. Asks EC2 unless it has just been asked.
   * @throws MintError as `confirm`
   */
  recheck(): Promise<void>;
  /**
   * AWS says that the instance does not run.
   * @throws MintError `vm-not-running` if it may not be started, or does not run in time; `vm-not-found`; `aws-…`
   */
  startIfStopped(): Promise<ResolvedTarget>;
  /**
   * @returns the URL of a tunnel through an endpoint of the VM's VPC, which is valid for a minute
   * @throws MintError `dial-failed` if there is no endpoint, `aws-…`
   */
  tunnel(): Promise<TunnelReply>;
}

/** The target of a request: an EC2 instance, or the host that ssh.toml or a job names. */
export function targetOf(context: TargetContext, request: TargetRequest): Target {
  const { name, host, access, identity, via } = request.settings;
  if (usesAws(request.settings)) return new Ec2Target(context, request);
  const isJob = access === 'injected' && identity === undefined;
  return fixedTarget(name, via, () =>
    isJob || host === undefined ? jobHost(context.jobs, name, host) : host,
  );
}

/** @throws MintError `job-not-found`, `job-lost`; `dial-failed` if the job has no address yet */
function jobHost(jobs: Jobs, name: string, host: string | undefined): string {
  jobs.key(name);
  if (host !== undefined) return host;
  throw new MintError('dial-failed', `job ${name} has no address yet`, {
    hint: `mint-ssh job set ${name} --host ADDRESS`,
  });
}

/** A machine that is not an EC2 instance. */
function fixedTarget(name: string, via: string | undefined, findHost: () => string): Target {
  let resolved: ResolvedTarget | undefined;
  const find = async () => {
    resolved ??= {
      candidates: [hostCandidate(findHost(), via)],
      instance: undefined,
      account: undefined,
      region: undefined,
      serial: 0,
    };
    return resolved;
  };
  const notInEc2 = async () => {
    throw new MintError('dial-failed', `${name} is not an EC2 instance`);
  };
  return {
    get resolved() {
      return resolved;
    },
    isOwnByTag: false,
    find: async () => ({ resolved: await find(), sure: true }),
    confirm: find,
    refresh: find,
    recheck: async () => {},
    startIfStopped: notInEc2,
    tunnel: notInEc2,
  };
}

/** @returns the target of an instance whose address is in ssh.toml; undefined if EC2 has to be asked */
function resolvedBy({ host, instance, region, via }: VmSettings): ResolvedTarget | undefined {
  if (host === undefined || instance === undefined) return undefined;
  return { candidates: [hostCandidate(host, via)], instance, account: undefined, region, serial: 0 };
}

class Ec2Target implements Target {
  readonly #context: TargetContext;
  readonly #request: TargetRequest;
  readonly #wanted: Wanted;
  /** ssh.toml has both address and instance: EC2 is asked only if the instance turns out not to run. */
  readonly #isFixed: boolean;
  /** Undefined while EC2 has not shown the instance. */
  #vm: LocatedVm | undefined;
  #resolved: ResolvedTarget | undefined;
  readonly #openedAt = Date.now();
  #serial = 0;
  #using: Promise<ResolvedTarget> | undefined;
  #starting: Promise<ResolvedTarget> | undefined;
  #lastNotice: string | undefined;

  constructor(context: TargetContext, request: TargetRequest) {
    const { caller, settings, isInFile, byName } = request;
    this.#context = context;
    this.#request = request;
    this.#wanted = { caller, settings, byNameTag: isInFile || byName || isApproved(context, settings) };
    this.#resolved = resolvedBy(settings);
    this.#isFixed = this.#resolved !== undefined;
  }

  get isOwnByTag(): boolean {
    return this.#vm?.found === 'tag';
  }

  get resolved(): ResolvedTarget | undefined {
    return this.#resolved;
  }

  async find(): Promise<{ readonly resolved: ResolvedTarget; readonly sure: boolean }> {
    if (this.#resolved !== undefined) return { resolved: this.#resolved, sure: true };
    const cached = this.#context.names.cached(this.#wanted);
    const candidates = cached === undefined ? [] : candidatesFor(cached.vm, this.#request.settings);
    if (cached === undefined || candidates.length === 0 || !this.#isReady(cached.vm))
      return { resolved: await this.#look(), sure: true };
    this.#showNotice(cached.vm);
    return { resolved: this.#keep(cached.vm, candidates), sure: cached.fresh };
  }

  async confirm(limitMs = confirmLimitMs): Promise<ResolvedTarget> {
    const before = this.#resolved;
    const looked = this.#context.names.look(this.#wanted).catch((error: unknown) => {
      if (isDefinite(error)) throw error;
      return undefined;
    });
    const { caller, settings } = this.#request;
    // The time limit is for AWS. A user who has to type an MFA code first takes longer.
    await this.#context.aws.ready(caller, settings).catch(() => {});
    const vm = await Promise.race([looked, sleep(limitMs, undefined, { ref: false })]);
    if (vm !== undefined) return this.#use(vm);
    if (before === undefined) throw new MintError('dial-failed', 'there is no earlier address to use');
    return before;
  }

  async refresh(): Promise<ResolvedTarget> {
    const resolved = this.#resolved;
    const running = this.#starting ?? this.#using;
    if (running !== undefined) {
      return running.catch((error: unknown) => {
        const isFinal = error instanceof MintError && error.code === 'vm-not-running';
        if (resolved === undefined || isFinal) throw error;
        return resolved;
      });
    }
    const isRecent = this.#vm !== undefined && this.#vm.seenAt >= this.#openedAt;
    if (resolved !== undefined && (this.#isFixed || isRecent)) return resolved;
    return this.confirm(refreshLimitMs);
  }

  async recheck(): Promise<void> {
    if (!this.#isFixed && this.#vm !== undefined && this.#vm.seenAt < this.#openedAt) await this.confirm();
  }

  async tunnel(): Promise<TunnelReply> {
    const { caller, settings, port } = this.#request;
    const { vpc, subnet, zone } = this.#vm ?? {};
    const { privateAddress: ipv4, ipv6 } = this.#vm ?? {};
    if (vpc === undefined || (ipv4 === undefined && ipv6 === undefined)) {
      throw new MintError('dial-failed', `the VPC of ${settings.name} is unknown`);
    }
    const { region, profile } = settings;
    return await this.#context.aws.tunnel(caller, { region, profile, vpc, subnet, zone, ipv4, ipv6, port });
  }

  startIfStopped(): Promise<ResolvedTarget> {
    this.#starting ??= this.#look().finally(() => {
      this.#starting = undefined;
    });
    return this.#starting;
  }

  async #look(): Promise<ResolvedTarget> {
    return this.#use(await this.#context.names.look(this.#wanted));
  }

  #use(vm: LocatedVm): Promise<ResolvedTarget> {
    this.#using ??= this.#keepRunning(vm).finally(() => {
      this.#using = undefined;
    });
    return this.#using;
  }

  /** Keeps the VM as the target, after it has been started if that is necessary. */
  async #keepRunning(vm: LocatedVm): Promise<ResolvedTarget> {
    const { settings, port, caller, ask, tell, isEstablished } = this.#request;
    this.#showNotice(vm);
    if (this.#isReady(vm) || isEstablished) return this.#keep(vm);
    const { starts } = this.#context;
    const started = await starts.start(vm, { settings, port, caller, ask, tell, wanted: this.#wanted });
    this.#serial += 1;
    return this.#keep(started);
  }

  #isReady(vm: LocatedVm): boolean {
    return isRunning(vm) && !this.#context.starts.isStarting(vm.instance, this.#request.port);
  }

  /** @throws MintError `dial-failed` if the VM has no address; then the target stays what it was */
  #keep(
    vm: LocatedVm,
    candidates: readonly Candidate[] = requireCandidates(vm, this.#request.settings),
  ): ResolvedTarget {
    if (this.#vm !== undefined && this.#vm.instance !== vm.instance) this.#serial += 1;
    this.#vm = vm;
    const { instance, keyName, account, region } = vm;
    this.#resolved = { candidates, instance, keyName, account, region, serial: this.#serial };
    return this.#resolved;
  }

  /** Tells the user, once, of other VMs with the same name or of a setup that Mint has not finished. */
  #showNotice(vm: LocatedVm): void {
    const notice = namesakeNotice(vm) ?? setupNotice(vm);
    if (notice !== undefined && notice !== this.#lastNotice) this.#request.tell(notice);
    this.#lastNotice = notice;
  }
}

/**
 * @param from the address that the client is connected to
 * @returns the error for a VM whose address has changed after the client connected
 */
export function movedError(vm: string, from: string, { candidates }: ResolvedTarget): MintError {
  const to = candidates[0]?.host ?? 'an unknown address';
  return new MintError('dial-failed', `${vm} has just moved from ${from} to ${to}`, {
    hint: 'connect again',
  });
}

/** @returns whether `host` is one of the target's candidates */
export function hasCandidate({ candidates }: ResolvedTarget, host: string): boolean {
  return candidates.some((candidate) => candidate.host === host);
}

function isApproved({ paths, log }: AgentContext, { name }: VmSettings): boolean {
  try {
    return approvedNames(paths).has(name);
  } catch (error) {
    log(`${name}: cannot read the approved names: ${String(error)}`);
    return false;
  }
}
