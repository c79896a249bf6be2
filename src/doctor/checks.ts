/** All checks, in the order of the report. A check may depend on earlier ones. */

import { quoted } from '../platform/files.ts';
import { usesAws } from '../settings/settings.ts';
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
import { type Check, counted, type Finding, loginLimit, notChecked, ok, warn } from './check.ts';
import { type CheckContext, once, type VmContext } from './context.ts';
import { judgeLogin, logIn } from './login.ts';
import { checkPermissions } from './permissions.ts';
import { checkOtherPins, checkPin } from './pin.ts';
import { askServer, judgeAddress, judgeBanner } from './server.ts';
import { checkBlock, checkInclude, checkOfferedKeys } from './ssh-config.ts';
import { checkSsh } from './ssh-program.ts';

/** The checks that need no VM. */
function generalChecks(context: CheckContext, settings: readonly Finding[]): readonly Check[] {
  const { paths, environment } = context;
  return [
    { name: 'ssh', run: () => checkSsh(environment) },
    { name: 'permissions', run: () => checkPermissions(paths) },
    { name: 'settings', run: () => (settings.length > 0 ? settings : [checkNames(context)]) },
    { name: 'include', run: () => checkInclude(context) },
    { name: 'agent', run: () => checkAgent(paths) },
    { name: 'forwarding', run: () => checkForwarding(context) },
  ];
}

/** The checks of `mint-ssh doctor` without a VM. They dial no VM, and ask AWS only who the caller is. */
export function allChecks(context: CheckContext, settings: readonly Finding[], aws: Aws): readonly Check[] {
  return [
    ...generalChecks(context, settings),
    { name: 'credentials', run: () => checkCredentials(context, aws) },
    { name: 'region', run: () => checkRegion(context) },
    { name: 'actions', run: nameActions },
    ...context.vms.map((vm) => ({ name: `pin of ${vm.name}`, run: () => checkPin(context.paths, vm) })),
    { name: 'other pins', run: () => checkOtherPins(context.paths, context.discovered) },
  ];
}

/** @returns the checks of one VM, in the order in which they are printed. They share each answer that two of them need. */
export function vmChecks(context: VmContext, aws: Aws): readonly Check[] {
  const { vm, paths } = context;
  const isInFile = context.vms.some(({ name }) => name === vm.name);
  const isInAws = usesAws(vm);
  const instance = once(async (): Promise<InstanceFinding> => (isInAws ? aws.instance(vm) : 'not-in-aws'));
  const consoleOutput = once(async () =>
    aws.consoleOutput(vm, vm.instance ?? (await foundInstance(instance))?.id),
  );
  const server = once(async () => askServer(context, await candidatesOf(context, instance)));
  const login = once(() => logIn(context, instance, server));
  const alone = { ...context, vms: [vm], discovered: new Map() };
  const ofAws: readonly Check[] = [
    { name: 'credentials', run: () => checkCredentials(alone, aws) },
    { name: 'region', run: () => checkRegion(alone) },
    { name: 'instance', run: () => checkInstance(context, instance) },
  ];
  return [
    ...generalChecks({ ...alone, upstreamAgent: vm.upstreamAgent ?? context.upstreamAgent }, [
      ok(isInFile ? `[vm.${vm.name}] is complete` : `${vm.name} is not in ssh.toml: it is found by name`),
    ]),
    { name: 'block', run: () => checkBlock(context) },
    { name: 'other keys', run: () => checkOfferedKeys(context) },
    ...(isInAws
      ? ofAws
      : [{ name: 'aws', run: () => [notChecked('a login to this VM needs no AWS calls')] }]),
    { name: 'address', run: async () => judgeAddress(context, await server()) },
    { name: 'banner', run: async () => judgeBanner(await server()) },
    { name: 'login', limit: loginLimit, run: async () => judgeLogin(context, await login()) },
    ...(isInAws
      ? [{ name: 'actions', limit: loginLimit, run: () => checkActions(login, instance, consoleOutput) }]
      : []),
    // After the login, which may be the first one and pin a key.
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

/** From AWS's answer now, else from its last one. */
async function candidatesOf(
  { vm, discovered }: VmContext,
  instance: () => Promise<InstanceFinding>,
): Promise<readonly Candidate[]> {
  if (vm.host !== undefined) return [{ kind: 'public', host: vm.host }];
  const known = discovered.get(vm.name);
  return (await foundInstance(instance))?.candidates ?? (known === undefined ? [] : candidatesFor(known, vm));
}

function checkNames({ vms, discovered, paths }: CheckContext): Finding {
  const found = discovered.size === 0 ? '' : `; AWS shows ${counted(discovered.size, 'VM')}`;
  if (vms.length > 0) return ok(`${quoted(paths.sshToml)} names ${counted(vms.length, 'VM')}${found}`);
  if (found !== '') return ok(`${quoted(paths.sshToml)} has no VM${found}`);
  return warn(
    `${quoted(paths.sshToml)} has no VM, and AWS has shown none so far`,
    '`mint-ssh vms` asks AWS; to add another VM, write [vm.NAME] with instance = "i-…" and host = "…" in ssh.toml',
  );
}
