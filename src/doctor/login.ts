/** A real login: ssh, the proxy, the agent, AWS and the VM's sshd. */
import { withLoginConfig } from '../ssh-config/login-config.ts';
import { sshArguments } from '../ssh-config/ssh-child.ts';
import type { InstanceFinding } from './aws.ts';
import type { Login, VmCase } from './case.ts';
import { type Finding, fail, loginLimit, ok } from './check.ts';
import { runSsh } from './run-program.ts';

/** What the check, and those that wait for it, need beside the login itself, in milliseconds. */
const margin = 1_500;
/** How long the login waits to hear whether the VM runs, in milliseconds. */
const stateLimit = 3_000;

/** Nobody is asked anything, nothing is forwarded, and no connection of before is used. */
const options = [
  'BatchMode=yes',
  'ControlMaster=no',
  'ControlPath=none',
  'RemoteCommand=none',
  'PermitLocalCommand=no',
  'ClearAllForwardings=yes',
  'ForwardAgent=no',
].flatMap((option) => ['-o', option]);

/** Not tried where the VM is known not to run: with `start = "always"` it would be started. */
export async function logIn(about: VmCase, instance: () => Promise<InstanceFinding>): Promise<Login> {
  const start = performance.now();
  const state = await stateOf(instance);
  if (state !== undefined && state !== 'running') {
    const message = `not tried: the instance is ${state}`;
    return { status: null, code: 'vm-not-running', message, hint: undefined, milliseconds: 0 };
  }
  const { paths, vm, globals, environment } = about;
  const quiet = { ...globals, verbose: false, timing: false };
  return await withLoginConfig({ paths, vm, globals: quiet }, async (file) => {
    const limit = Math.max(1_000, loginLimit - margin - (performance.now() - start));
    const words = sshArguments(file, [...options, '-T'], vm.name, 'true');
    return explain(await runSsh(words, { limit, environment }));
  });
}

async function stateOf(instance: () => Promise<InstanceFinding>): Promise<string | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(resolve, stateLimit, undefined);
  });
  const found = await Promise.race([instance(), late]);
  clearTimeout(timer);
  return found === undefined || found === 'absent' || 'error' in found ? undefined : found.state;
}

function explain({ status, late, stderr, milliseconds }: Awaited<ReturnType<typeof runSsh>>): Login {
  const error = /^mint-ssh: error: (.*) \(([a-z-]+)\)\r?$/m.exec(stderr);
  const hint = /^mint-ssh: hint: (.*?)\r?$/m.exec(stderr)?.[1];
  const last = stderr.trim().split('\n').at(-1)?.trim();
  const silent = late ? `no login within ${Math.round(milliseconds / 1000)} s` : (last ?? '');
  const message = error === null ? silent : `${error[1]} (${error[2]})`;
  return { status, code: error?.[2], message, hint, milliseconds };
}

export function judgeLogin({ vm }: VmCase, login: Login): readonly Finding[] {
  const { status, message, hint, milliseconds } = login;
  if (status === 0) return [ok(`\`ssh ${vm.name} true\` took ${Math.round(milliseconds)} ms`)];
  const why = message === '' ? `ssh ended with status ${status ?? 'none'}` : message;
  return [fail(why, hint ?? `see what happens: mint-ssh ssh --verbose ${vm.name} -- -v true`)];
}
