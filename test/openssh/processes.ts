/** Running processes, from /proc: those with our directory in their environment or arguments. */
import { readdirSync, readFileSync } from 'node:fs';

export interface RunningProcess {
  readonly pid: number;
  readonly parent: number;
  /** `ps`-like, arguments joined by spaces. */
  readonly command: string;
  /** `NAME=value` lines. Programs that rewrite their title may have lost theirs. */
  readonly environment: string;
}

/** Every process that may be looked at, zombies left out. */
export function runningProcesses(): RunningProcess[] {
  const found: RunningProcess[] = [];
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const stat = read(`/proc/${name}/stat`);
    // The name in parentheses may hold anything; what follows its last parenthesis is plain.
    const [state, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (state === undefined || state === '' || state === 'Z' || state === 'X') continue;
    found.push({
      pid: Number(name),
      parent: Number(parent),
      command: read(`/proc/${name}/cmdline`).replaceAll('\0', ' ').trim(),
      environment: read(`/proc/${name}/environ`).replaceAll('\0', '\n'),
    });
  }
  return found;
}

/** Those started with something below this directory as an argument or in a variable. */
export function processesOf(directory: string): RunningProcess[] {
  return runningProcesses().filter(
    ({ pid, command, environment }) =>
      pid !== process.pid && (command.includes(directory) || environment.includes(directory)),
  );
}

/** Kills them, for the end of a test that started something which outlives its parent. */
export function killProcessesOf(directory: string): void {
  for (const { pid } of processesOf(directory)) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // It ended meanwhile.
    }
  }
}

/** A process's children, their children, and so on. */
export function descendantsOf(pid: number): RunningProcess[] {
  const all = runningProcesses();
  const below = (parent: number): RunningProcess[] =>
    all.filter((each) => each.parent === parent).flatMap((each) => [each, ...below(each.pid)]);
  return below(pid);
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    // It ended in the meantime, or belongs to another user.
    return '';
  }
}
