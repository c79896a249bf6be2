/** The pushed keys, each valid for exactly 60 s, in memory and (for a real sshd) in files. */
import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** How long the metadata service hands out a pushed key: https://docs.aws.amazon.com/ec2-instance-connect/latest/APIReference/API_SendSSHPublicKey.html */
const pushedKeyMilliseconds = 60_000;

export interface PushedKeys {
  /** Authorizes a key line for 60 s from now. */
  authorise(instance: string, user: string, line: string): void;
  /** The lines that are valid now. */
  lines(instance: string, user: string): string[];
  /** Moves the time of all keys ahead, as if so many milliseconds had gone by. */
  pass(milliseconds: number): void;
  /** Stops the timers. The caller removes the directory. */
  close(): void;
}

/**
 * @param directory if given, `<directory>/<instance>/<user>` always has the valid lines, so that
 *   `AuthorizedKeysCommand /bin/cat <directory>/<instance>/%u` replaces the metadata service
 */
export function makePushedKeys(directory: string | undefined): PushedKeys {
  /** `<instance>/<user>` → line → expiry, in milliseconds of `performance.now()`. */
  const register = new Map<string, Map<string, number>>();
  const timers = new Map<string, NodeJS.Timeout>();

  const linesOf = (owner: string): string[] => {
    const now = performance.now();
    return [...(register.get(owner) ?? [])].filter(([, end]) => now < end).map(([line]) => line);
  };

  const writeFile = (owner: string): void => {
    if (directory === undefined) return;
    const path = join(directory, owner);
    const lines = linesOf(owner);
    if (lines.length === 0) {
      rmSync(path, { force: true });
      return;
    }
    // Renamed, so that sshd never reads half a line.
    mkdirSync(join(path, '..'), { recursive: true });
    writeFileSync(`${path}~`, `${lines.join('\n')}\n`);
    renameSync(`${path}~`, path);
  };

  const expireIn = (milliseconds: number, owner: string, line: string): void => {
    const name = `${owner} ${line}`;
    clearTimeout(timers.get(name));
    const timer = setTimeout(() => {
      // A timer may fire a fraction of a millisecond early.
      const left = (register.get(owner)?.get(line) ?? 0) - performance.now();
      if (left > 0) {
        expireIn(left, owner, line);
        return;
      }
      timers.delete(name);
      register.get(owner)?.delete(line);
      writeFile(owner);
    }, milliseconds);
    timers.set(name, timer.unref());
  };

  return {
    authorise(instance, user, line) {
      const owner = `${instance}/${user}`;
      const lines = register.get(owner) ?? new Map<string, number>();
      register.set(owner, lines);
      lines.set(line, performance.now() + pushedKeyMilliseconds);
      writeFile(owner);
      expireIn(pushedKeyMilliseconds, owner, line);
    },
    lines: (instance, user) => linesOf(`${instance}/${user}`),
    pass(milliseconds) {
      for (const [owner, lines] of register) {
        for (const [line, end] of lines) {
          lines.set(line, end - milliseconds);
          expireIn(Math.max(0, end - milliseconds - performance.now()), owner, line);
        }
        writeFile(owner);
      }
    },
    close() {
      for (const timer of timers.values()) clearTimeout(timer);
      timers.clear();
    },
  };
}
