/** All checks, in the order of the report: each depends on those before it. */

import { quoted } from '../platform/files.ts';
import { hasPartInAws } from '../settings/uses-aws.ts';
import { type Candidate, candidatesFor } from '../vms/candidates.ts';
import { checkAgent, checkForwarding } from './agent.ts';
import {
  type Aws,
  checkActions,
  checkCredentials,
  checkInstance,
  checkRegion,
  foundInstance,
  type InstanceFinding,
  nameActions,
} from './aws.ts';
import { type Case, once, type VmCase } from './case.ts';
import { type Check, counted, type Finding, loginLimit, notChecked, ok, warn } from './check.ts';
import { judgeLogin, logIn } from './login.ts';
import { checkPermissions } from './permissions.ts';
import { checkOtherPins, checkPin } from './pin.ts';
import { askServer, judgeAddress, judgeBanner } from './server.ts';
import { checkBlock, checkInclude, checkOfferedKeys } from './ssh-config.ts';
import { checkSsh } from './ssh-program.ts';

/** The checks that do not depend on a VM. */
function generalChecks(about: Case, settings: readonly Finding[]): readonly Check[] {
  const { paths, environment } = about;
  return [
    { name: 'ssh', run: () => checkSsh(environment) },
    { name: 'permissions', run: () => checkPermissions(paths) },
    { name: 'settings', run: () => (settings.length > 0 ? settings : [checkNames(about)]) },
    { name: 'include', run: () => checkInclude(about) },
    { name: 'agent', run: () => checkAgent(paths) },
    { name: 'forwarding', run: () => checkForwarding(about) },
  ];
}

/** Without a VM: nothing is dialled, and AWS is asked only who the caller is. */
export function allChecks(about: Case, settings: readonly Finding[], aws: Aws): readonly Check[] {
  return [
    ...generalChecks(about, settings),
    { name: 'credentials', run: () => checkCredentials(about, aws) },
    { name: 'region', run: () => checkRegion(about) },
    { name: 'actions', run: nameActions },
    ...about.vms.map((vm) => ({ name: `pin of ${vm.name}`, run: () => checkPin(about.paths, vm) })),
    { name: 'other pins', run: () => checkOtherPins(about.paths, about.discovered) },
  ];
}

export function vmChecks(about: VmCase, aws: Aws): readonly Check[] {
  const { vm, paths } = about;
  const isInFile = about.vms.some(({ name }) => name === vm.name);
  const isInAws = hasPartInAws(vm);
  const instance = once(async (): Promise<InstanceFinding> => (isInAws ? aws.instance(vm) : 'not-in-aws'));
  const consoleOutput = once(async () =>
    aws.consoleOutput(vm, vm.instance ?? (await foundInstance(instance))?.id),
  );
  const server = once(async () => askServer(about, await candidatesOf(about, instance)));
  const login = once(() => logIn(about, instance, server));
  const alone = { ...about, vms: [vm], discovered: new Map() };
  const ofAws: readonly Check[] = [
    { name: 'credentials', run: () => checkCredentials(alone, aws) },
    { name: 'region', run: () => checkRegion(alone) },
    { name: 'instance', run: () => checkInstance(about, instance) },
  ];
  return [
    ...generalChecks({ ...alone, upstreamAgent: vm.upstreamAgent ?? about.upstreamAgent }, [
      ok(isInFile ? `[vm.${vm.name}] is complete` : `ssh.toml does not name ${vm.name}: it is found by name`),
    ]),
    { name: 'block', run: () => checkBlock(about) },
    { name: 'other keys', run: () => checkOfferedKeys(about) },
    ...(isInAws ? ofAws : [{ name: 'aws', run: () => [notChecked('this VM does not need AWS')] }]),
    { name: 'address', run: async () => judgeAddress(about, await server()) },
    { name: 'banner', run: async () => judgeBanner(await server()) },
    { name: 'login', limit: loginLimit, run: async () => judgeLogin(about, await login()) },
    ...(isInAws
      ? [{ name: 'actions', limit: loginLimit, run: () => checkActions(login, instance, consoleOutput) }]
      : []),
    // Behind the login, which may be the first: what it pinned is told.
    {
      name: 'pin',
      limit: loginLimit,
      run: async () => {
        const [made, found] = await Promise.all([login().catch(() => undefined), foundInstance(instance)]);
        const isKnown = isInFile || found !== undefined;
        return checkPin(paths, vm, { loggedIn: made?.status === 0, instance: found?.id, isKnown });
      },
    },
  ];
}

/** From what AWS says now, else from what it said last. */
async function candidatesOf(
  { vm, discovered }: VmCase,
  instance: () => Promise<InstanceFinding>,
): Promise<readonly Candidate[]> {
  if (vm.host !== undefined) return [{ kind: 'public', host: vm.host }];
  const known = discovered.get(vm.name);
  return (await foundInstance(instance))?.candidates ?? (known === undefined ? [] : candidatesFor(known, vm));
}

function checkNames({ vms, discovered, paths }: Case): Finding {
  const found = discovered.size === 0 ? '' : `; AWS shows ${counted(discovered.size, 'VM')}`;
  if (vms.length > 0) return ok(`${quoted(paths.sshToml)} names ${counted(vms.length, 'VM')}${found}`);
  if (found !== '') return ok(`${quoted(paths.sshToml)} names no VM${found}`);
  return warn(
    `${quoted(paths.sshToml)} names no VM, and AWS has shown none so far`,
    '`mint-ssh vms` asks AWS; others you can add: [vm.NAME] with instance = "i-…" and host = "…" below it',
  );
}
