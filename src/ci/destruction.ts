/**
 * Destroys a job's VM, until EC2 confirms it. Every call may be repeated, so the holder, `debug end` and a reaper may run
 * at the same time without waiting for each other.
 */
import { spawn } from 'node:child_process';
import { isIP } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Aws } from '../aws/aws.ts';
import { ownAws } from '../aws/own-credentials.ts';
import type { VmDescription } from '../aws/requests.ts';
import { hint, printable, say } from '../cli/terminal.ts';
import { MintError } from '../errors.ts';
import { type AuditEvent, appendAudit } from '../platform/audit.ts';
import type { Caller } from '../platform/caller.ts';
import { thisCaller } from '../platform/caller.ts';
import type { Paths } from '../platform/paths.ts';
import { readOpenJobs } from '../settings/open-jobs.ts';
import { endJobAndBlock } from './jobs.ts';
import { closeLease, destroyMs, type Lease, type LeaseStore } from './leases.ts';

/** The values of `--destroy` and `--instance`. */
export interface Destruction {
  readonly kind: 'terminate' | 'command';
  readonly instance: string | undefined;
  /** For `/bin/sh -c`, on this machine. */
  readonly command: string | undefined;
}

/** Access of this process to AWS. */
export interface AwsAccess {
  readonly aws: Aws;
  readonly caller: Caller;
  readonly profile: string | undefined;
  readonly region: string | undefined;
}

/** Opens AWS with newly resolved credentials. The caller closes `aws`. */
export function openAws({
  profile,
  region,
}: {
  readonly profile: string | undefined;
  readonly region: string | undefined;
}): AwsAccess {
  return { aws: ownAws(), caller: thisCaller(), profile, region };
}

/**
 * @param text the value of `--destroy`: `terminate`, `command:…`, or undefined
 * @param instance the value of `--instance`
 * @throws MintError `usage` for an invalid value, or if the two do not determine how to destroy the VM
 */
export function parseDestruction(text: string | undefined, instance: string | undefined): Destruction {
  if (instance !== undefined && !/^i-(?:[0-9a-f]{8}|[0-9a-f]{17})$/.test(instance)) {
    throw new MintError('usage', `"${printable(instance.slice(0, 40))}" is not an instance ID`, {
      hint: 'such as --instance i-0123456789abcdef0',
    });
  }
  const [, command = ''] = /^command:([\s\S]+)$/.exec(text ?? '') ?? [];
  if (command.trim() !== '' && !command.includes('\0')) return { kind: 'command', instance, command };
  if ((text === undefined || text === 'terminate') && instance !== undefined) {
    return { kind: 'terminate', instance, command: undefined };
  }
  throw new MintError('usage', 'missing option: how to destroy the VM', {
    hint: "--instance i-… for an EC2 instance, else --destroy command:'…'; $MINT_VM and $MINT_HOST say which VM",
  });
}

/**
 * @returns the running instance as EC2 describes it; its region and account become part of the lease
 * @throws MintError `vm-not-found`, `vm-not-running`, `aws-…`
 */
export async function describeInstance(access: AwsAccess, instance: string): Promise<VmDescription> {
  const found = await lookUp(access, instance);
  if (found === undefined) throw new MintError('vm-not-found', `there is no instance ${instance}`);
  if (found.state === 'running' || found.state === 'pending') return found;
  throw new MintError('vm-not-running', `the instance ${instance} is ${found.state}`);
}

/**
 * @returns whether EC2 says that the instance no longer runs; false if EC2 does not know it
 * @throws MintError `aws-…`
 */
export async function isOff(access: AwsAccess, instance: string): Promise<boolean> {
  const state = (await lookUp(access, instance))?.state;
  return state !== undefined && state !== 'running' && state !== 'pending';
}

async function lookUp(
  { aws, caller, profile, region }: AwsAccess,
  instance: string,
): Promise<VmDescription | undefined> {
  const [found] = await aws.describeVms(caller, { profile, region, ids: [instance] });
  return found;
}

/**
 * Protects against a mistyped instance ID, which would destroy another machine: if the job has an IP address, the
 * instance must have it too. Host names are not compared.
 *
 * @throws MintError `usage`
 */
export function checkAddress(
  { name, host }: { readonly name: string; readonly host: string },
  vm: VmDescription,
): void {
  const addresses = [vm.publicAddress, vm.privateAddress, vm.ipv6].filter((address) => address !== undefined);
  if (isIP(host) === 0 || addresses.length === 0 || addresses.includes(host)) return;
  throw new MintError(
    'usage',
    `the job ${name} has the address ${host}, but ${vm.instanceId} has ${addresses.join(', ')}`,
    { hint: 'check --instance; if it is right, give `job set` a host name, which is not compared' },
  );
}

export interface Ending {
  readonly paths: Paths;
  readonly store: LeaseStore;
  /** Used if the lease has no profile. */
  readonly profile: string | undefined;
  /** The command that destroys the VM, for leases of that kind. */
  readonly command: string | undefined;
  readonly event: Extract<AuditEvent, 'debug-ended' | 'debug-reaped'>;
  /** The command's words after `mint-ssh`, for the audit log. */
  readonly word: string;
  /** `until-confirmed`: retries failures, for an instance until EC2 confirms, for a command for five minutes. */
  readonly persistence: 'once' | 'until-confirmed';
  /** Called once the VM is destroyed, before the lease is removed. It may throw a MintError of the store. */
  readonly beforeClosing?: () => Promise<void>;
}

/**
 * Destroys the lease's VM, ends the job if it belongs to this machine, and closes the lease. If the lease cannot be
 * closed, it prints a note: a reaper closes it later, because it treats a missing VM as destroyed.
 *
 * @throws MintError if the VM could not be destroyed: `aws-…`, `io-failed`, `usage`
 */
export async function endLease(lease: Lease, ending: Ending): Promise<void> {
  const { paths, store, event, word } = ending;
  try {
    await destroyVm(lease, ending);
  } finally {
    await forgetJob(paths, lease);
  }
  const { id, project, vm, user, destroy } = lease;
  const instance = destroy.kind === 'terminate' ? destroy.instance : undefined;
  appendAudit(paths, { event, command: word, vm, instance, user, lease: id, project });
  try {
    await ending.beforeClosing?.();
    await closeLease(store, lease);
  } catch (error) {
    if (!(error instanceof MintError)) throw error;
    say(
      `note: ${vm} is destroyed, but its lease ${id} could not be removed: ${error.message} (${error.code})`,
    );
    hint('`mint-ssh debug reap` removes it when its time is over');
  }
}

/** The times between attempts, in milliseconds; the last one repeats. */
const pausesMs = [2_000, 5_000, 10_000, 20_000];
/** The same failure is printed again after this time, in milliseconds. */
const repeatMs = 60_000;

async function destroyVm(lease: Lease, ending: Ending): Promise<void> {
  const begun = performance.now();
  let told = { message: '', at: 0 };
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await destroyOnce(lease, ending);
    } catch (error) {
      if (!(error instanceof MintError) || error.code === 'usage' || ending.persistence === 'once')
        throw error;
      if (lease.destroy.kind === 'command' && performance.now() - begun > destroyMs) throw error;
      const message = `${lease.vm} is not destroyed yet: ${error.message} (${error.code})`;
      if (message !== told.message || performance.now() - told.at > repeatMs) {
        say(message);
        told = { message, at: performance.now() };
      }
    }
    await sleep(pausesMs[Math.min(attempt, pausesMs.length - 1)]);
  }
}

async function destroyOnce(lease: Lease, { command, profile }: Ending): Promise<void> {
  const { destroy } = lease;
  if (destroy.kind === 'command') {
    if (command !== undefined) return await runCommand(lease, command);
    throw new MintError('usage', `only the holder of ${lease.vm} has the command that destroys it`, {
      hint: "give the command: --destroy command:'…'",
    });
  }
  const access = openAws({ profile, region: destroy.region });
  try {
    await terminate(access, destroy);
  } finally {
    await access.aws.close();
  }
}

/** @throws MintError `io-failed` unless EC2 says that the instance is shutting down or terminated; `aws-…` */
async function terminate(
  { aws, caller, profile, region }: AwsAccess,
  { instance, account }: { readonly instance: string; readonly account: string },
): Promise<void> {
  try {
    const { state } = await aws.endInstance(caller, {
      profile,
      region,
      instanceId: instance,
      how: 'terminate',
    });
    if (state === 'shutting-down' || state === 'terminated') return;
    throw new MintError('io-failed', `EC2 says that ${instance} is ${state ?? 'in an unknown state'}`);
  } catch (error) {
    if (!(error instanceof MintError && error.code === 'vm-not-found')) throw error;
  }
  // EC2 forgets a terminated instance within the hour. Another account cannot see it at all.
  const own = await aws.identity(caller, { profile, region });
  if (own.account === account) return;
  throw new MintError(
    'aws-credentials',
    `${instance} belongs to account ${account}, the credentials to ${own.account}`,
    {
      hint: `use credentials of account ${account}, for example with --profile`,
    },
  );
}

/** Passes the VM in environment variables, so that no part of it can become part of the command. */
function runCommand({ id, project, vm, host, port, user }: Lease, command: string): Promise<void> {
  const facts = {
    MINT_LEASE: id,
    MINT_PROJECT: project,
    MINT_VM: vm,
    MINT_HOST: host,
    MINT_PORT: String(port),
    MINT_USER: user,
  };
  return new Promise((resolve, reject) => {
    const child = spawn('/bin/sh', ['-c', command], {
      env: { ...process.env, ...facts },
      // Its output goes to stderr, because stdout may be for JSON.
      stdio: ['ignore', 2, 2],
      detached: true,
    });
    const limit = setTimeout(() => killGroup(child.pid), destroyMs);
    const settle = (error?: MintError) => {
      clearTimeout(limit);
      if (error === undefined) resolve();
      else reject(error);
    };
    child.once('error', (cause) =>
      settle(new MintError('io-failed', `cannot run the command that destroys ${vm}`, { cause })),
    );
    child.once('exit', (status, signal) => {
      if (status === 0) settle();
      else
        settle(new MintError('io-failed', `the command that destroys ${vm} ended with ${status ?? signal}`));
    });
  });
}

function killGroup(pid: number | undefined): void {
  try {
    if (pid !== undefined) process.kill(-pid, 'SIGKILL');
  } catch {
    // It has already ended.
  }
}

/** Ends the job (key, pin and block) if it belongs to this machine. A failure is printed, and does not stop the end. */
async function forgetJob(paths: Paths, { vm, host, port }: Lease): Promise<void> {
  try {
    const job = readOpenJobs(paths).find(({ name }) => name === vm);
    // Another VM may have the name now.
    if (job?.host !== host || job.port !== port) return;
    await endJobAndBlock(paths, vm);
  } catch (error) {
    if (!(error instanceof MintError)) throw error;
    if (error.code === 'job-not-found') return;
    say(`note: the job ${vm} could not be ended: ${error.message} (${error.code})`);
    hint(`mint-ssh job end ${vm}`);
  }
}
