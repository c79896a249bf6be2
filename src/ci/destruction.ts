/** How a VM is destroyed: what the caller said, and the doing of it. */
import { spawn } from 'node:child_process';
import { isIP } from 'node:net';
import type { AwsWorkers, Caller, VmDescription } from '../aws/workers.ts';
import { printable } from '../cli/terminal.ts';
import { MintError } from '../errors.ts';
import { type Destroy, destroyTime, type Lease } from './lease.ts';

/** What `--destroy` and `--instance` come to. */
export interface Destruction {
  readonly kind: Destroy['kind'];
  readonly instance: string | undefined;
  /** For the shell. */
  readonly command: string | undefined;
}

/** As the caller reaches AWS. */
export interface AwsAccess {
  readonly aws: AwsWorkers;
  readonly caller: Caller;
  readonly profile: string | undefined;
  readonly region: string | undefined;
}

/** @throws MintError `usage` for what is no way to destroy a VM, and for none where none follows from an instance */
export function parseDestruction(text: string | undefined, instance: string | undefined): Destruction {
  if (instance !== undefined && !/^i-(?:[0-9a-f]{8}|[0-9a-f]{17})$/.test(instance)) {
    throw new MintError('usage', `"${printable(instance.slice(0, 40))}" is no instance id`, {
      hint: 'such as --instance i-0123456789abcdef0',
    });
  }
  const kind = text ?? (instance === undefined ? undefined : 'terminate');
  if (kind === 'terminate' || kind === 'stop') {
    if (instance !== undefined) return { kind, instance, command: undefined };
    throw new MintError('usage', `--destroy ${kind} needs the VM's --instance`, {
      hint: 'a VM that is none of EC2’s is destroyed by a command of yours: --destroy command:…',
    });
  }
  const [, command = ''] = /^command:([\s\S]+)$/.exec(kind ?? '') ?? [];
  if (command.trim() !== '' && !command.includes('\0')) return { kind: 'command', instance, command };
  throw new MintError('usage', 'how is the VM destroyed when debug access ends?', {
    hint: "--instance i-… for one of EC2's, else --destroy command:'…'; what it is about is in $MINT_VM and $MINT_HOST",
  });
}

/**
 * What EC2 says of the instance; it has to be there. The lease needs its region: whoever reaps may have another one set.
 * @throws MintError `vm-not-found`, `vm-not-running`, and what AWS refuses
 */
export async function describeInstance(access: AwsAccess, instance: string): Promise<VmDescription> {
  const { aws, caller, profile, region } = access;
  const [found] = await aws.describeVms(caller, { profile, region, ids: [instance] });
  if (found === undefined) throw new MintError('vm-not-found', `there is no instance ${instance}`);
  if (found.state === 'running' || found.state === 'pending') return found;
  throw new MintError('vm-not-running', `the instance ${instance} is ${found.state}`);
}

/**
 * A slip in an instance id would destroy another machine: where the job's VM is told by its address, the instance has that
 * one. A host name is not compared. @throws MintError `usage`
 */
export function checkPlace(
  { name, host }: { readonly name: string; readonly host: string },
  vm: VmDescription,
): void {
  const addresses = [vm.publicAddress, vm.privateAddress, vm.ipv6].filter((address) => address !== undefined);
  if (isIP(host) === 0 || addresses.length === 0 || addresses.includes(host)) return;
  throw new MintError(
    'usage',
    `the job ${name} is at ${host}, and ${vm.instanceId} at ${addresses.join(', ')}`,
    {
      hint: 'is it another instance? where it is not, give `job set` a host name: that is not compared',
    },
  );
}

/** Whether the instance is on its way out, or gone. @throws MintError what AWS refuses */
export async function isOver(
  { aws, caller, profile, region }: AwsAccess,
  instance: string,
): Promise<boolean> {
  const [found] = await aws.describeVms(caller, { profile, region, ids: [instance] });
  return found !== undefined && found.state !== 'running' && found.state !== 'pending';
}

/**
 * Destroys the VM; where it is gone already, that is as good. @param command for a lease of that kind
 * @throws MintError `usage` where a command is needed and there is none; what AWS refuses; `io-failed`
 */
export async function destroyVm(
  lease: Lease,
  command: string | undefined,
  { aws, caller, profile }: Omit<AwsAccess, 'region'>,
): Promise<void> {
  const { destroy } = lease;
  if (destroy.kind === 'command') {
    if (command !== undefined) return await runCommand(lease, command);
    throw new MintError('usage', `${lease.vm} is destroyed by a command, which only its holder knew`, {
      hint: "say how: --destroy command:'…'",
    });
  }
  const { kind: how, instance: instanceId, region } = destroy;
  try {
    await aws.endInstance(caller, { profile, region, instanceId, how });
  } catch (error) {
    // EC2 forgets a terminated instance within the hour.
    if (!(error instanceof MintError && error.code === 'vm-not-found')) throw error;
  }
}

/** What the VM is stands in the environment, so that no word of it is ever part of a command. */
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
      // Its output is for people; stdout may be the block's, or JSON.
      stdio: ['ignore', 2, 2],
      detached: true,
    });
    const limit = setTimeout(() => endGroup(child.pid), destroyTime);
    const settle = (error?: MintError) => {
      clearTimeout(limit);
      if (error === undefined) resolve();
      else reject(error);
    };
    child.once('error', (cause) =>
      settle(new MintError('io-failed', `the command that destroys ${vm} cannot be run`, { cause })),
    );
    child.once('exit', (status, signal) => {
      if (status === 0) settle();
      else
        settle(new MintError('io-failed', `the command that destroys ${vm} ended with ${status ?? signal}`));
    });
  });
}

function endGroup(pid: number | undefined): void {
  try {
    if (pid !== undefined) process.kill(-pid, 'SIGKILL');
  } catch {
    // It has ended meanwhile.
  }
}
