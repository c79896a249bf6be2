/** AWS as the caller's own settings reach it: who they are there, and what EC2 says of a VM. */

import { AwsWorkers, type Caller, type Target } from '../aws/workers.ts';
import { command, ec2Id, idOr } from '../cli/shell-command.ts';
import { MintError } from '../errors.ts';
import { callerEnvironment } from '../platform/environment.ts';
import type { Paths } from '../platform/paths.ts';
import { writtenNames } from '../settings/approved-names.ts';
import type { VmSettings } from '../settings/settings.ts';
import { type Candidate, candidatesFor } from '../vms/candidates.ts';
import { type LocatedVm, located } from '../vms/located-vm.ts';
import { isDefinite, Names } from '../vms/names.ts';
import type { Case, Login, VmCase } from './case.ts';
import { type Finding, fail, failed, ok, warn } from './check.ts';

export interface Instance {
  readonly id: string;
  readonly state: string;
  readonly region: string;
  /** The preferred one first. */
  readonly candidates: readonly Candidate[];
  readonly bootstrap: string | undefined;
}

/** An instance, or why there is no answer; `absent`: ssh.toml names one that does not exist. */
export type InstanceFinding = Instance | { readonly error: unknown } | 'absent';

/** The worker thread that answers, in this process: the agent need not run for it. `close` it at the end. */
export class Aws {
  readonly #workers = new AwsWorkers();
  readonly #caller: Caller;
  readonly #paths: Paths;

  constructor(paths: Paths, environment: NodeJS.ProcessEnv) {
    this.#paths = paths;
    this.#caller = { environment: callerEnvironment(environment) };
  }

  async credentials(target: Target): Promise<Finding> {
    const { account, arn } = await this.#workers.identity(this.#caller, target);
    return ok(`you are ${arn} in account ${account}${forProfile(target)}`);
  }

  /** By its id where ssh.toml has one, else as a login finds it. @param isInFile whether ssh.toml has the VM */
  async instance(vm: VmSettings, isInFile: boolean): Promise<InstanceFinding> {
    const { region, profile, instance } = vm;
    try {
      if (instance === undefined) return await this.#byName(vm, isInFile);
      const [found] = await this.#workers.describeVms(this.#caller, { region, profile, ids: [instance] });
      if (found === undefined) return 'absent';
      return instanceOf(located(vm.name, 'id', found), vm);
    } catch (error) {
      const isAbsent = instance !== undefined && error instanceof MintError && error.code === 'vm-not-found';
      return isAbsent ? 'absent' : { error };
    }
  }

  async #byName(vm: VmSettings, isInFile: boolean): Promise<Instance> {
    const byNameTag = isInFile || writtenNames(this.#paths).approved.has(vm.name);
    const names = new Names(this.#paths, this.#workers);
    const found = await names.look({ caller: this.#caller, settings: vm, byNameTag });
    names.cache.flush();
    return instanceOf(found, vm);
  }

  /** Undefined where it may be read, else why not. */
  async consoleOutput({ region, profile }: VmSettings, instanceId: string | undefined): Promise<unknown> {
    if (instanceId === undefined) return undefined;
    try {
      await this.#workers.consoleOutput(this.#caller, { region, profile, instanceId });
      return undefined;
    } catch (error) {
      return error;
    }
  }

  close(): Promise<void> {
    return this.#workers.close();
  }
}

function instanceOf(vm: LocatedVm, settings: VmSettings): Instance {
  const { instance: id, state, region, bootstrap } = vm;
  return { id, state, region, bootstrap, candidates: candidatesFor(vm, settings) };
}

/** The instance, where there was one to be found. */
export async function foundInstance(instance: () => Promise<InstanceFinding>): Promise<Instance | undefined> {
  const found = await instance();
  return found === 'absent' || 'error' in found ? undefined : found;
}

/** What ssh.toml names, and what holds for all other VMs where those count. */
function targets({ vms, others, discovered, globals }: Case): readonly Target[] {
  if (vms.length > 0 && discovered.size === 0) return vms;
  return [...vms, others ?? globals];
}

/** Once for each profile and region that the VMs use. */
export async function checkCredentials(about: Case, aws: Aws): Promise<readonly Finding[]> {
  const distinct = new Map(
    targets(about).map(({ profile, region }) => [JSON.stringify([profile, region]), { profile, region }]),
  );
  const few = [...distinct.values()].slice(0, 4);
  return await Promise.all(few.map((target) => aws.credentials(target).catch((error) => failed(error))));
}

function forProfile({ profile }: Target): string {
  return profile === undefined ? '' : ` (profile ${profile})`;
}

/** Where the region comes from; a VM without any is left to what the AWS files say. */
export function checkRegion(about: Case): readonly Finding[] {
  const { environment } = about;
  const all = targets(about);
  const named = [...new Set(all.map(({ region }) => region).filter((region) => region !== undefined))];
  const silent = all.filter(({ region }) => region === undefined);
  const findings = named.length > 0 ? [ok(named.join(', '))] : [];
  if (silent.length === 0 && findings.length > 0) return findings;
  const inherited = environment['AWS_REGION'] || environment['AWS_DEFAULT_REGION'];
  if (inherited) return [...findings, ok(`${inherited}, from the environment`)];
  const hint = 'put region = "…" at the top of ssh.toml: a program started from a desktop has no AWS_REGION';
  return [
    ...findings,
    warn('none in ssh.toml, config.toml or AWS_REGION: the profile has to name one', hint),
  ];
}

/** What IAM has to allow, each with what it is for; where AWS was asked, what it said. */
export async function checkActions(
  login: () => Promise<Login>,
  instance: () => Promise<InstanceFinding>,
  consoleOutput: () => Promise<unknown>,
): Promise<readonly Finding[]> {
  const [push, found, output] = await Promise.all([
    login().catch(() => undefined),
    instance(),
    consoleOutput(),
  ]);
  const describe = found === 'absent' || !('error' in found) ? undefined : found.error;
  return [
    pushFinding(push),
    readFinding('ec2:DescribeInstances', 'a VM cannot be found by its tags', describe),
    readFinding('ec2:GetConsoleOutput', 'a first host key is not checked against the console', output),
  ];
}

const pushAction = 'ec2-instance-connect:SendSSHPublicKey';

function pushFinding(login: Login | undefined): Finding {
  if (login?.code === 'aws-denied') {
    return fail(`${pushAction} is denied: no login without it`, 'ask who runs your AWS to allow it');
  }
  return login?.status === 0
    ? ok(`${pushAction} is allowed`)
    : ok(`${pushAction} is what a login needs; where it is denied, the login says so (aws-denied)`);
}

function readFinding(action: string, without: string, error: unknown): Finding {
  if (error === undefined) return ok(`${action} is allowed`);
  if (error instanceof MintError && error.code === 'aws-denied') {
    return warn(`${action} is denied: ${without}`, 'ask who runs your AWS to allow it');
  }
  return warn(
    `${action}: not known, AWS gave no answer (${error instanceof MintError ? error.code : error})`,
  );
}

/** Without a VM nobody is asked: the names are said. */
export function nameActions(): readonly Finding[] {
  return [
    ok(
      `${pushAction} is needed; ec2:DescribeInstances and ec2:GetConsoleOutput help: \`doctor VM\` tries them`,
    ),
  ];
}

/** The state of the instance, and whether its set-up was completed. */
export async function checkInstance(
  { vm }: VmCase,
  instance: () => Promise<InstanceFinding>,
): Promise<readonly Finding[]> {
  const found = await instance();
  if (found === 'absent') {
    return [
      fail(`${vm.instance} does not exist there`, `check instance and region of [vm.${vm.name}] in ssh.toml`),
    ];
  }
  if ('error' in found) return [failed(found.error, isDefinite(found.error) ? 'fail' : 'warn')];
  const { id, state, bootstrap } = found;
  const findings: Finding[] = [];
  if (state === 'running') findings.push(ok(`${id} is running`));
  else findings.push(fail(`${id} is ${state}`, startHint(vm, found)));
  if (bootstrap === 'pending' || bootstrap === 'failed') {
    findings.push(warn(`Mint's set-up of it is ${bootstrap}`, `look at: mint doctor ${vm.name}`));
  }
  return findings;
}

function startHint(vm: VmSettings, { id, state, region }: Instance): string {
  if (state === 'pending' || state === 'stopping') return 'wait a moment and run this again';
  if (state !== 'stopped') {
    return vm.instance === undefined
      ? 'make it anew'
      : 'make it anew, and put the new instance into ssh.toml';
  }
  const where = vm.instance === undefined ? region : vm.region;
  const profile = vm.profile === undefined ? '' : command` --profile ${vm.profile}`;
  const at = where === undefined ? '' : command` --region ${where}`;
  return `${command`aws ec2 start-instances --instance-ids ${idOr(id, ec2Id, 'INSTANCE')}`}${at}${profile}`;
}
