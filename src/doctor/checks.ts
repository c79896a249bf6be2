/** Every check there is, in the order in which they are told: each rests on those before it. */
import { quoted } from '../config/files.ts';
import { checkAgent, checkForwarding } from './agent.ts';
import { type Aws, checkActions, checkCredentials, checkInstance, checkRegion, nameActions } from './aws.ts';
import { type Case, once, type VmCase } from './case.ts';
import { type Check, type Finding, ok, warn } from './check.ts';
import { judgeLogin, logIn } from './login.ts';
import { checkPermissions } from './permissions.ts';
import { checkPin } from './pin.ts';
import { askServer, judgeAddress, judgeBanner } from './server.ts';
import { checkBlock, checkInclude, checkOfferedKeys } from './ssh-config.ts';
import { checkSsh } from './ssh-program.ts';

/** What does not depend on a VM. */
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
  ];
}

export function vmChecks(about: VmCase, aws: Aws): readonly Check[] {
  const { vm, paths } = about;
  const instance = once(() => aws.instance(vm));
  const consoleOutput = once(() => aws.consoleOutput(vm));
  const login = once(() => logIn(about, instance));
  const server = once(async () => askServer(about, vm.host ?? (await addressOf(instance))));
  return [
    ...generalChecks({ ...about, vms: [vm], upstreamAgent: vm.upstreamAgent ?? about.upstreamAgent }, [
      ok(`[vm.${vm.name}] is complete`),
    ]),
    { name: 'block', run: () => checkBlock(about) },
    { name: 'other keys', run: () => checkOfferedKeys(about) },
    { name: 'credentials', run: () => checkCredentials({ ...about, vms: [vm] }, aws) },
    { name: 'region', run: () => checkRegion({ ...about, vms: [vm] }) },
    { name: 'actions', run: () => checkActions(login, instance, consoleOutput) },
    { name: 'instance', run: () => checkInstance(about, instance) },
    { name: 'address', run: async () => judgeAddress(await server()) },
    { name: 'banner', run: async () => judgeBanner(await server()) },
    { name: 'login', run: async () => judgeLogin(about, await login()) },
    // Behind the login, which may be the first: what it pinned is told.
    {
      name: 'pin',
      run: async () => {
        const made = await login().catch(() => undefined);
        return checkPin(paths, vm, made?.status === 0);
      },
    },
  ];
}

async function addressOf(instance: () => ReturnType<Aws['instance']>): Promise<string | undefined> {
  const found = await instance();
  return found === 'absent' || 'error' in found ? undefined : found.publicAddress;
}

function checkNames({ vms, paths }: Case): Finding {
  if (vms.length > 0)
    return ok(`${quoted(paths.sshToml)} names ${vms.length} ${vms.length === 1 ? 'VM' : 'VMs'}`);
  return warn(
    `${quoted(paths.sshToml)} names no VM`,
    'add one: [vm.NAME] with instance = "i-…" and host = "…" below it',
  );
}
