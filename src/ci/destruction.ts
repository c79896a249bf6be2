/**
 * The end of a job's VM: how the caller wants it destroyed, and doing that until EC2 confirms it. Every call may be
 * repeated, by the holder, by `debug end` and by a reaper at the same time: none has to wait for another.
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

/** What `--destroy` and `--instance` say. */
export interface Destruction {
  readonly kind: 'terminate' | 'command';
  readonly instance: string | undefined;
  /** For `/bin/sh -c`, on this machine. */
  readonly command: string | undefined;
}

/** AWS as this process reaches it. */
export interface AwsAccess {
  readonly aws: Aws;
  readonly caller: Caller;
  readonly profile: string | undefined;
  readonly region: string | undefined;
}

/** Opens AWS. Each `AwsAccess` resolves its credentials again; the caller closes `aws`. */
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
 * @param text what `--destroy` says: `terminate`, `command:…`, or nothing
 * @throws MintError `usage` where it does not say how the VM is destroyed
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
  throw new MintError('usage', 'it is not said how the VM is destroyed', {
    hint: "--instance i-… for an EC2 instance, else --destroy command:'…'; $MINT_VM and $MINT_HOST say which VM",
  });
}

/**
 * What EC2 says about the instance, which has to be there: its region and account go into the lease.
 *
 * @throws MintError `vm-not-found`, `vm-not-running`, and what AWS refuses
 */
export async function describeInstance(access: AwsAccess, instance: string): Promise<VmDescription> {
  const found = await lookUp(access, instance);
  if (found === undefined) throw new MintError('vm-not-found', `there is no instance ${instance}`);
  if (found.state === 'running' || found.state === 'pending') return found;
  throw new MintError('vm-not-running', `the instance ${instance} is ${found.state}`);
}

/** Whether EC2 says that the instance does not run any more. @throws MintError what AWS refuses */
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
 * A typing error in an instance ID would destroy another machine: where the job's VM is known by its address, the instance
 * must have that address. Host names are not compared.
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
    `the job ${name} is at ${host}, and ${vm.instanceId} at ${addresses.join(', ')}`,
    { hint: 'check --instance; if it is right, give `job set` a host name, which is not compared' },
  );
}

export interface Ending {
  readonly paths: Paths;
  readonly store: LeaseStore;
  /** Where the lease's own region and profile are not known. */
  readonly profile: string | undefined;
  /** For a VM that is destroyed by one. */
  readonly command: string | undefined;
  readonly event: Extract<AuditEvent, 'debug-ended' | 'debug-reaped'>;
  /** The words after `mint-ssh`, for the audit log. */
  readonly word: string;
  /** `until-confirmed`: a failure is tried again, an instance until EC2 confirms, a command for five minutes. */
  readonly persistence: 'once' | 'until-confirmed';
}

/**
 * Destroys the lease's VM, ends the job where it is this machine's, and closes the lease. Only the first can fail: a
 * lease that the store does not close is told, and left to a reaper, to whom a VM that is gone is as good as destroyed.
 *
 * @throws MintError why the VM is not destroyed
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
    await closeLease(store, lease);
  } catch (error) {
    if (!(error instanceof MintError)) throw error;
    say(
      `note: ${vm} is destroyed, but its lease ${id} is still in the store: ${error.message} (${error.code})`,
    );
    hint('`mint-ssh debug reap` removes it when its time is over');
  }
}

/** Between two attempts, in milliseconds; the last one repeats. */
const pausesMs = [2_000, 5_000, 10_000, 20_000];
/** The same failure is told again after this time, in milliseconds. */
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
    throw new MintError('usage', `${lease.vm} is destroyed by a command that only its holder knows`, {
      hint: "say how: --destroy command:'…'",
    });
  }
  const access = openAws({ profile, region: destroy.region });
  try {
    await terminate(access, destroy);
  } finally {
    await access.aws.close();
  }
}

/** @throws MintError where EC2 does not say that the instance is terminated, or about to be */
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
    throw new MintError('io-failed', `EC2 says that ${instance} is ${state ?? 'in no state'}`);
  } catch (error) {
    if (!(error instanceof MintError && error.code === 'vm-not-found')) throw error;
  }
  // EC2 forgets a terminated instance within the hour. To another account, it never was there.
  const own = await aws.identity(caller, { profile, region });
  if (own.account === account) return;
  throw new MintError(
    'aws-credentials',
    `${instance} is of account ${account}, the credentials of ${own.account}`,
    {
      hint: `use credentials of account ${account}, for example with --profile`,
    },
  );
}

/** The VM is told in the environment, so that no part of it becomes a word of the command. */
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
      // Its output is for people: stdout may be for JSON.
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
    // It has ended.
  }
}

/** Ends the job, where it is this machine's: key, pin and block. What fails is told, and delays nothing. */
async function forgetJob(paths: Paths, { vm, host, port }: Lease): Promise<void> {
  try {
    const job = readOpenJobs(paths).find(({ name }) => name === vm);
    // Another VM may have the name by now.
    if (job?.host !== host || job.port !== port) return;
    await endJobAndBlock(paths, vm);
  } catch (error) {
    if (!(error instanceof MintError)) throw error;
    if (error.code === 'job-not-found') return;
    say(`note: the job ${vm} is not ended: ${error.message} (${error.code})`);
    hint(`mint-ssh job end ${vm}`);
  }
}
