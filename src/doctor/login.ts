/** Tries a real login, through ssh, the proxy, the agent, AWS and the VM's sshd. */
import { setTimeout as sleep } from 'node:timers/promises';
import { withLoginConfig } from '../ssh-config/login-config.ts';
import { sshArguments } from '../ssh-config/ssh-child.ts';
import { isDefinite } from '../vms/names.ts';
import type { InstanceFinding } from './aws.ts';
import type { Login, VmCase } from './case.ts';
import { type Finding, fail, loginLimit, notChecked, ok } from './check.ts';
import { runSsh } from './run-program.ts';
import { isUnreachable, type ServerFinding } from './server.ts';

/** What the check, and those that wait for it, need beside the login itself. */
const marginMs = 1_500;
/** How long the login waits to hear whether the VM runs. */
const stateLimitMs = 3_000;

/** No questions, no forwarding, and a connection of its own. */
const options = [
  'BatchMode=yes',
  'ControlMaster=no',
  'ControlPath=none',
  'RemoteCommand=none',
  'PermitLocalCommand=no',
  'ClearAllForwardings=yes',
  'ForwardAgent=no',
].flatMap((option) => ['-o', option]);

/**
 * Logs in, unless it is known that this cannot succeed. A VM that does not run is never tried: with `start = "always"`
 * the login would start it.
 */
export async function logIn(
  about: VmCase,
  instance: () => Promise<InstanceFinding>,
  server: () => Promise<ServerFinding>,
): Promise<Login> {
  const start = performance.now();
  const skipped =
    reasonToSkip(await Promise.race([instance(), timeout(stateLimitMs)])) ??
    (isUnreachable(await server()) ? 'the VM cannot be reached' : undefined);
  if (skipped !== undefined) {
    return { status: null, skipped, code: undefined, message: '', hint: undefined, milliseconds: 0 };
  }
  return await tryLogin(about, Math.max(1_000, loginLimit - marginMs - (performance.now() - start)));
}

/** Runs `true` on the VM. */
export async function tryLogin(
  {
    paths,
    vm,
    globals,
    environment,
    proxyOptions,
  }: Pick<VmCase, 'paths' | 'vm' | 'globals' | 'environment' | 'proxyOptions'>,
  limitMs: number,
): Promise<Login> {
  const quiet = { ...globals, verbose: false, timing: false };
  return await withLoginConfig({ paths, vm, globals: quiet, proxyOptions }, async (file) => {
    const words = sshArguments(file, [...options, '-T'], vm.name, 'true');
    return explain(await runSsh(words, { limit: limitMs, environment }));
  });
}

/** What AWS says about the instance, if it rules out a login. */
function reasonToSkip(found: InstanceFinding | undefined): string | undefined {
  if (found === undefined || found === 'not-in-aws') return undefined;
  if (found === 'absent') return 'the instance does not exist';
  if ('error' in found) return isDefinite(found.error) ? 'AWS shows no such VM' : undefined;
  return found.state === 'running' ? undefined : `the instance is ${found.state}`;
}

function timeout(milliseconds: number): Promise<undefined> {
  return sleep(milliseconds, undefined, { ref: false });
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
  const { status, skipped, message, hint, milliseconds } = login;
  if (skipped !== undefined) return [notChecked(skipped)];
  if (status === 0) return [ok(`\`ssh ${vm.name} true\` took ${Math.round(milliseconds)} ms`)];
  const why = message === '' ? `ssh ended with status ${status ?? 'none'}` : message;
  return [fail(why, hint ?? `see what happens: mint-ssh ssh --verbose ${vm.name} -- -v true`)];
}
