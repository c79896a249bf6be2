/** Checks AWS with the caller's settings: who the caller is, which actions are allowed, and the state of the instance. */
import { ownAws } from '../aws/own-credentials.ts';
import type { Identity, Target } from '../aws/requests.ts';
import { command } from '../cli/shell-command.ts';
import { MintError } from '../errors.ts';
import type { Caller } from '../platform/caller.ts';
import { thisCaller } from '../platform/caller.ts';
import type { Paths } from '../platform/paths.ts';
import type { VmSettings } from '../settings/settings.ts';
import { type Candidate, candidatesFor } from '../vms/candidates.ts';
import { type LocatedVm, located } from '../vms/located-vm.ts';
import { isDefinite, Names } from '../vms/names.ts';
import { type Finding, fail, failed, notChecked, ok, warn } from './check.ts';
import type { CheckContext, Login, VmContext } from './context.ts';

export interface Instance {
  readonly id: string;
  readonly state: string;
  readonly region: string;
  /** The preferred one first. */
  readonly candidates: readonly Candidate[];
  readonly bootstrap: string | undefined;
}

/** `absent`: the instance in ssh.toml does not exist. `not-in-aws`: a login to the VM needs no AWS calls. */
export type InstanceFinding = Instance | { readonly error: unknown } | 'absent' | 'not-in-aws';

/** The result of a call to AWS; `not-made` if there was no instance to ask about. */
export type Attempt = 'allowed' | 'not-made' | { readonly error: unknown };

/** AWS calls from this process, without the agent. Call `close` at the end. */
export class Aws {
  readonly #aws = ownAws();
  readonly #caller: Caller;
  readonly #paths: Paths;

  constructor(paths: Paths, environment: NodeJS.ProcessEnv) {
    this.#paths = paths;
    this.#caller = thisCaller(environment);
  }

  async credentials(target: Target): Promise<Finding> {
    const { account, arn } = await this.identity(target);
    return ok(`you are ${arn} in account ${account}${forProfile(target)}`);
  }

  /** @throws MintError `aws-…` */
  identity(target: Target): Promise<Identity> {
    return this.#aws.identity(this.#caller, target);
  }

  /** Finds the instance by the ID in ssh.toml, else by its name. */
  async instance(vm: VmSettings): Promise<InstanceFinding> {
    const { region, profile, instance } = vm;
    try {
      if (instance === undefined) return await this.#byName(vm);
      const [found] = await this.#aws.describeVms(this.#caller, { region, profile, ids: [instance] });
      if (found === undefined) return 'absent';
      return instanceOf(located(vm.name, 'id', found), vm);
    } catch (error) {
      const isAbsent = instance !== undefined && error instanceof MintError && error.code === 'vm-not-found';
      return isAbsent ? 'absent' : { error };
    }
  }

  async #byName(vm: VmSettings): Promise<Instance> {
    const names = new Names(this.#paths, this.#aws);
    const found = await names.look({ caller: this.#caller, settings: vm, byNameTag: true });
    names.cache.flush();
    return instanceOf(found, vm);
  }

  async consoleOutput({ region, profile }: VmSettings, instanceId: string | undefined): Promise<Attempt> {
    if (instanceId === undefined) return 'not-made';
    try {
      await this.#aws.consoleOutput(this.#caller, { region, profile, instanceId });
      return 'allowed';
    } catch (error) {
      return { error };
    }
  }

  close(): Promise<void> {
    return this.#aws.close();
  }
}

function instanceOf(vm: LocatedVm, settings: VmSettings): Instance {
  const { instance: id, state, region, bootstrap } = vm;
  return { id, state, region, bootstrap, candidates: candidatesFor(vm, settings) };
}

/** @returns the instance; undefined if it was not found, or AWS could not be asked */
export async function foundInstance(instance: () => Promise<InstanceFinding>): Promise<Instance | undefined> {
  const found = await instance();
  return typeof found === 'string' || 'error' in found ? undefined : found;
}

/** The VMs of ssh.toml, and the settings for other VMs if they apply. */
function targets({ vms, others, discovered, globals }: CheckContext): readonly Target[] {
  if (vms.length > 0 && discovered.size === 0) return vms;
  return [...vms, others ?? globals];
}

/** Checks the credentials once for each profile and region that the VMs use. */
export async function checkCredentials(context: CheckContext, aws: Aws): Promise<readonly Finding[]> {
  const distinct = new Map(
    targets(context).map(({ profile, region }) => [JSON.stringify([profile, region]), { profile, region }]),
  );
  const few = [...distinct.values()].slice(0, 4);
  return await Promise.all(few.map((target) => aws.credentials(target).catch((error) => failed(error))));
}

function forProfile({ profile }: Target): string {
  return profile === undefined ? '' : ` (profile ${profile})`;
}

/** Checks that a region is set. A VM without one uses the region of the AWS files. */
export function checkRegion(context: CheckContext): readonly Finding[] {
  const { environment } = context;
  const all = targets(context);
  const named = [...new Set(all.map(({ region }) => region).filter((region) => region !== undefined))];
  const silent = all.filter(({ region }) => region === undefined);
  const findings = named.length > 0 ? [ok(named.join(', '))] : [];
  if (silent.length === 0 && findings.length > 0) return findings;
  const inherited = environment['AWS_REGION'] || environment['AWS_DEFAULT_REGION'];
  if (inherited) return [...findings, ok(`${inherited}, from the environment`)];
  const hint = 'put region = "…" at the top of ssh.toml: a program started from a desktop has no AWS_REGION';
  return [...findings, warn('none in ssh.toml, config.toml or AWS_REGION: the profile must have one', hint)];
}

/** @returns for each needed IAM action whether AWS just allowed it, denied it, or was not asked */
export async function checkActions(
  login: () => Promise<Login>,
  instance: () => Promise<InstanceFinding>,
  consoleOutput: () => Promise<Attempt>,
): Promise<readonly Finding[]> {
  const [push, found, output] = await Promise.all([
    login().catch(() => undefined),
    instance(),
    consoleOutput(),
  ]);
  // AWS reports that an instance does not exist only to callers with the permission.
  const describe: Attempt =
    typeof found === 'string' || !('error' in found) || isDefinite(found.error)
      ? 'allowed'
      : { error: found.error };
  return [
    pushFinding(push),
    readFinding('ec2:DescribeInstances', 'a VM cannot be found by its tags', describe),
    readFinding('ec2:GetConsoleOutput', 'a first host key is not checked against the console', output),
  ];
}

const pushAction = 'ec2-instance-connect:SendSSHPublicKey';
const askAdministrator = 'for the administrator of the account: mint-ssh doctor VM --report';

function pushFinding(login: Login | undefined): Finding {
  if (login?.code === 'aws-denied') {
    const message = `${pushAction} is denied: no login without it`;
    return { ...fail(message, askAdministrator), deniedAction: pushAction };
  }
  if (login?.status === 0) return ok(`${pushAction} is allowed`);
  return notChecked(`${pushAction}: no login succeeded`);
}

function readFinding(action: string, without: string, attempt: Attempt): Finding {
  if (attempt === 'allowed') return ok(`${action} is allowed`);
  if (attempt === 'not-made') return notChecked(`${action}: no instance to ask about`);
  const { error } = attempt;
  if (error instanceof MintError && error.code === 'aws-denied') {
    return { ...warn(`${action} is denied: ${without}`, askAdministrator), deniedAction: action };
  }
  return notChecked(`${action}: AWS could not be asked (${error instanceof MintError ? error.code : error})`);
}

/** @returns the finding for a run without a VM, in which no action can be tried */
export function nameActions(): readonly Finding[] {
  return [notChecked('IAM actions are checked for a VM: mint-ssh doctor VM')];
}

/** Checks the state of the instance, and whether Mint's setup of it has completed. */
export async function checkInstance(
  { vm }: VmContext,
  instance: () => Promise<InstanceFinding>,
): Promise<readonly Finding[]> {
  const found = await instance();
  if (found === 'absent') {
    return [
      fail(`${vm.instance} does not exist there`, `check instance and region of [vm.${vm.name}] in ssh.toml`),
    ];
  }
  if (found === 'not-in-aws') return [];
  if ('error' in found) return [failed(found.error, isDefinite(found.error) ? 'fail' : 'warn')];
  const { id, state, bootstrap } = found;
  const findings: Finding[] = [];
  if (state === 'running') findings.push(ok(`AWS says that ${id} is running`));
  else findings.push(fail(`${id} is ${state}`, startHint(vm, found)));
  if (bootstrap === 'pending' || bootstrap === 'failed') {
    findings.push(warn(`Mint's setup of it is ${bootstrap}`, `mint doctor ${vm.name}`));
  }
  return findings;
}

function startHint(vm: VmSettings, { state }: Instance): string {
  if (state === 'pending' || state === 'stopping') return 'wait a moment and run this again';
  if (state !== 'stopped') {
    const create = 'launch a new instance';
    return vm.instance === undefined ? create : `${create}, and set instance of [vm.${vm.name}] in ssh.toml`;
  }
  return command`mint-ssh start ${vm.name}`;
}
