/**
 * What every process of ours does to keep its memory out of debuggers and crash dumps. Node has no call for
 * setrlimit(2) or prctl(2), so this uses what a process can do without native code: see core(5) and proc(5).
 */
import { spawn, spawnSync } from 'node:child_process';
import { closeSync, readFileSync, writeFileSync } from 'node:fs';
import { isSea } from 'node:sea';
import { system } from './system/system.ts';

/** How long prlimit(1) may take where the command waits for it, in milliseconds. */
const prlimitTimeoutMs = 2000;

/**
 * To be called before anything else. Never throws.
 *
 * - SIGUSR1 does not open Node's debugger on 127.0.0.1:9229, which every local user can reach. The executable and
 *   `ownProcess` pass `--disable-sigusr1`; a handler has the same effect in a Node that was started without it.
 * - A core file contains no memory (Linux). Children inherit that.
 * - Node writes no coverage files.
 */
export function hardenProcess(): void {
  stopCoverage();
  // With the option Node ignores the signal, and a handler would only cost time.
  if (!isSea() && !process.execArgv.includes('--disable-sigusr1')) process.on('SIGUSR1', () => {});
  if (!system.hasProc) return;
  try {
    // No kind of mapping is dumped: also not by a core_pattern that pipes to a crash handler, which ignores the limit.
    writeFileSync('/proc/self/coredump_filter', '0');
  } catch {
    // A kernel without core dumps, or a sandbox that emulates /proc.
  }
}

/**
 * Sets this process's limit for core files to 0, where it is not 0 yet (Linux, by prlimit(1)), for processes that we
 * did not start through `ownProcess`. Never throws: without it a core file still contains no memory.
 *
 * @param options `wait`: returns only once the limit is set; for a process that is about to hold a secret
 */
export function forbidCoreFiles({ wait }: { readonly wait: boolean }): void {
  if (!system.hasProc || !mayLeaveCore()) return;
  const words = ['--core=0:0', '--pid', String(process.pid)];
  try {
    if (wait) spawnSync('prlimit', words, { stdio: 'ignore', timeout: prlimitTimeoutMs });
    else
      spawn('prlimit', words, { stdio: 'ignore' })
        .on('error', () => {})
        .unref();
  } catch {
    // Without descriptors, or without memory for a child.
  }
}

/** Whether the soft limit for core files is more than 0; getrlimit(2) as proc(5) shows it. */
function mayLeaveCore(): boolean {
  try {
    const [, soft] = /^Max core file size +(\S+)/m.exec(readFileSync('/proc/self/limits', 'latin1')) ?? [];
    return soft !== '0';
  } catch {
    return false;
  }
}

/**
 * Node begins to collect coverage before it runs any of our code. Once that is stopped Node has nothing to write, and
 * complains of it on stderr after the last of our code has run.
 */
function stopCoverage(): void {
  if (process.env['NODE_V8_COVERAGE'] === undefined) return;
  // Neither for the programs that this process starts.
  delete process.env['NODE_V8_COVERAGE'];
  process.getBuiltinModule('node:v8').stopCoverage();
  process.on('exit', () => closeSync(2));
}

/**
 * The part of an environment that the agent runs with: no credentials, no proxies, no settings of Node or OpenSSL.
 * @returns a copy
 */
export function agentEnvironment(environment: NodeJS.ProcessEnv): Record<string, string> {
  const kept = Object.entries(environment).filter(
    (entry): entry is [string, string] =>
      Boolean(entry[1]) && system.agentVariables.includes(entry[0].toUpperCase()),
  );
  return { PATH: '/usr/bin:/bin', ...Object.fromEntries(kept) };
}

/** For an agent that was not started by us: what it does not need goes, before anything reads it. */
export function reduceEnvironment(): void {
  const kept = agentEnvironment(process.env);
  for (const name of Object.keys(process.env)) if (kept[name] === undefined) delete process.env[name];
}
