/** Tries a real login, through ssh, the proxy, the agent, AWS and the VM's sshd. */
import { spawnSync } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { quoted } from '../platform/files.ts';
import { system } from '../platform/system/system.ts';
import { withLoginConfig } from '../ssh-config/login-config.ts';
import { sshArguments } from '../ssh-config/ssh-child.ts';
import { isDefinite } from '../vms/names.ts';
import type { InstanceFinding } from './aws.ts';
import { type Finding, fail, loginLimit, notChecked, ok } from './check.ts';
import type { Login, VmContext } from './context.ts';
import { runSsh } from './run-program.ts';
import { isUnreachable, type ServerFinding } from './server.ts';

/** The part of the time limit that is not for the login itself, in milliseconds. */
const marginMs = 1_500;
/** How long the login waits for the state of the VM, in milliseconds. */
const stateLimitMs = 3_000;

/** No prompts, no forwarding, and no shared connection. */
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
 * Logs in, unless this cannot succeed. It never tries a stopped VM, because with `start = "always"` the login would
 * start it.
 */
export async function logIn(
  context: VmContext,
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
  return await tryLogin(context, Math.max(1_000, loginLimit - marginMs - (performance.now() - start)));
}

/**
 * Runs `true` on the VM.
 *
 * @param limitMs kills ssh after this time
 */
export async function tryLogin(
  {
    paths,
    vm,
    globals,
    environment,
    proxyOptions,
  }: Pick<VmContext, 'paths' | 'vm' | 'globals' | 'environment' | 'proxyOptions'>,
  limitMs: number,
): Promise<Login> {
  const quiet = { ...globals, verbose: false, timing: false };
  return await withLoginConfig({ paths, vm, globals: quiet, proxyOptions }, async (file) => {
    const words = sshArguments(file, [...options, '-T'], vm.name, 'true');
    const login = explain(await runSsh(words, { limit: limitMs, environment }));
    const isProxySilent = login.status !== 0 && login.code === undefined;
    return { ...login, hint: login.hint ?? (isProxySilent ? shellHint(environment, vm.name) : undefined) };
  });
}

/** ssh runs ProxyCommand with `$SHELL -c`. The shell of a service account often runs nothing (nologin). */
function shellHint({ SHELL: shell }: NodeJS.ProcessEnv, vm: string): string | undefined {
  if (!shell || !system.hasModes) return undefined;
  if (spawnSync(shell, ['-c', 'exit 0'], { stdio: 'ignore', timeout: 2_000 }).status === 0) return undefined;
  return `SHELL is ${quoted(shell)}, and ssh cannot run the proxy with it: SHELL=/bin/sh ssh ${vm}`;
}

/** The state of the instance, if it rules out a login. */
function reasonToSkip(found: InstanceFinding | undefined): string | undefined {
  if (found === undefined || found === 'not-in-aws') return undefined;
  if (found === 'absent') return 'the instance does not exist';
  if ('error' in found) return isDefinite(found.error) ? 'AWS did not find the VM' : undefined;
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

/** @returns one finding about a login that was tried, or was not and why */
export function judgeLogin({ vm }: VmContext, login: Login): readonly Finding[] {
  const { status, skipped, message, hint, milliseconds } = login;
  if (skipped !== undefined) return [notChecked(skipped)];
  if (status === 0) return [ok(`\`ssh ${vm.name} true\` took ${Math.round(milliseconds)} ms`)];
  const why = message === '' ? `ssh ended with status ${status ?? 'none'}` : message;
  return [fail(why, hint ?? `see what happens: mint-ssh ssh --verbose ${vm.name} -- -v true`)];
}
