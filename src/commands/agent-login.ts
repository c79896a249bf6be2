/** `mint-ssh agent install|uninstall`: systemd or launchd starts the agent at login. */

import { execFile } from 'node:child_process';
import { lstatSync, mkdirSync, readlinkSync, realpathSync, unlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { hint, printable, say } from '../cli/terminal.ts';
import { MintError } from '../errors.ts';
import { ensurePrivateDirectory, ioFailed, quoted, readPrivateFile, writeAtomic } from '../platform/files.ts';
import type { Paths } from '../platform/paths.ts';
import { system } from '../platform/system/system.ts';
import { isOurUnit, type LoginUnit, launchdLabel, loginUnit, systemdUnit } from './login-unit.ts';

/** The program that manages services of this user; each list is the arguments of one run. */
interface Manager {
  readonly program: string;
  /** Succeeds if the manager runs for this user. */
  readonly isLive: readonly string[];
  /** Succeeds if the manager has loaded the unit; absent if `start` may be repeated. */
  readonly hasUnit?: readonly string[];
  readonly start: readonly (readonly string[])[];
  readonly stop: readonly (readonly string[])[];
  /** Runs after the unit's file is removed. */
  readonly forget: readonly (readonly string[])[];
}

const maxUnitBytes = 64 * 1024;
const commandTimeoutMs = 30_000;

/**
 * Writes the unit, or replaces an older one of ours, and starts it.
 *
 * @returns the exit status
 * @throws MintError `io-failed`, `unsafe-permissions`
 */
export async function installAgent(paths: Paths): Promise<number> {
  const unit = loginUnit(paths);
  const manager = managerOf(unit);
  const isLive = await runs(manager, manager.isLive);
  const found = readUnit(unit);
  const isNew = found === undefined;
  const isCurrent = found?.toString('utf8') === unit.text;
  if (!isCurrent) writeUnit(unit);
  say(
    `${quoted(unit.path)} ${isCurrent ? 'is installed already' : isNew ? 'was installed' : 'was replaced'}`,
  );
  if (!isLive) {
    say(`${manager.program} cannot reach your session from here; run this in a session:`);
    for (const words of manager.start) hint(commandLine(manager, words));
    return 0;
  }
  const isLoaded = manager.hasUnit !== undefined && (await runs(manager, manager.hasUnit));
  if (!isLoaded) for (const words of manager.start) await run(manager, words);
  say('the agent is running, and starts at login');
  if (!isCurrent && !isNew) hint('the replaced unit takes effect at the next login');
  return 0;
}

/**
 * Stops the unit and removes its file, if mint-ssh wrote it.
 *
 * @param endAgent throws `agent-in-use` if the agent holds keys that would be lost
 * @returns the exit status
 * @throws MintError `io-failed`
 */
export async function uninstallAgent(paths: Paths, endAgent: () => Promise<unknown>): Promise<number> {
  const unit = loginUnit(paths);
  if (readUnit(unit) === undefined) {
    say('the agent is not installed');
    return 0;
  }
  await endAgent();
  const manager = managerOf(unit);
  const isLive = await runs(manager, manager.isLive).catch(() => false);
  const isLoaded = isLive && (manager.hasUnit === undefined || (await runs(manager, manager.hasUnit)));
  if (isLoaded) for (const words of manager.stop) await run(manager, words);
  removeLink(join(dirname(unit.path), 'default.target.wants', systemdUnit), unit.path);
  remove(unit.path);
  if (isLive) for (const words of manager.forget) await run(manager, words);
  say(`removed ${quoted(unit.path)}; from now on a connection starts the agent`);
  return 0;
}

function managerOf({ path }: LoginUnit): Manager {
  if (system.loginService === 'launchd') {
    const domain = `gui/${process.getuid?.() ?? 0}`;
    return {
      program: 'launchctl',
      isLive: ['print', domain],
      hasUnit: ['print', `${domain}/${launchdLabel}`],
      start: [['bootstrap', domain, path]],
      stop: [['bootout', `${domain}/${launchdLabel}`]],
      forget: [],
    };
  }
  return {
    program: 'systemctl',
    isLive: ['--user', 'show-environment'],
    start: [
      ['--user', 'daemon-reload'],
      ['--user', 'enable', '--now', systemdUnit],
    ],
    stop: [['--user', 'disable', '--now', systemdUnit]],
    forget: [['--user', 'daemon-reload']],
  };
}

/**
 * @returns the installed file; undefined if there is none
 * @throws MintError `io-failed` if mint-ssh did not write it
 */
function readUnit({ path }: LoginUnit): Buffer | undefined {
  const found = readPrivateFile(path, { maxBytes: maxUnitBytes });
  if (found === undefined || isOurUnit(found.toString('utf8'))) return found;
  throw new MintError('io-failed', `${quoted(path)} was not written by mint-ssh`, {
    hint: 'move the file away and run the command again',
  });
}

function writeUnit({ path, text }: LoginUnit): void {
  const directory = dirname(path);
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    // A part of the path may be a link: some users keep their settings in another place.
    ensurePrivateDirectory(realpathSync(directory));
  } catch (error) {
    throw error instanceof MintError ? error : ioFailed('create', directory, error);
  }
  writeAtomic(path, text, { mode: 0o644 });
}

/** Removes the link that `systemctl enable` made, for a systemd that does not run. */
function removeLink(link: string, target: string): void {
  try {
    if (lstatSync(link).isSymbolicLink() && readlinkSync(link) === target) unlinkSync(link);
  } catch {
    // There is no such link.
  }
}

function remove(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    throw ioFailed('remove', path, error);
  }
}

/** @throws MintError `io-failed` with the first line of its stderr, if the program fails */
async function run(manager: Manager, words: readonly string[]): Promise<void> {
  const { succeeded, stderr } = await outcome(manager, words);
  if (succeeded) return;
  const [line = ''] = stderr.trim().split('\n');
  throw new MintError('io-failed', `\`${commandLine(manager, words)}\` failed: ${printable(line)}`);
}

async function runs(manager: Manager, words: readonly string[]): Promise<boolean> {
  return (await outcome(manager, words)).succeeded;
}

/** @throws MintError `io-failed` if the program is not installed */
function outcome(
  { program }: Manager,
  words: readonly string[],
): Promise<{ succeeded: boolean; stderr: string }> {
  return new Promise((resolve, reject) => {
    execFile(program, words, { timeout: commandTimeoutMs, encoding: 'utf8' }, (error, _stdout, stderr) => {
      if (error !== null && (error as NodeJS.ErrnoException).code === 'ENOENT') reject(notInstalled(program));
      else resolve({ succeeded: error === null, stderr });
    });
  });
}

function notInstalled(program: string): MintError {
  return new MintError('io-failed', `${program} is not installed on this machine`, {
    hint: 'make your session start `mint-ssh agent --stay`',
  });
}

function commandLine({ program }: Manager, words: readonly string[]): string {
  return [program, ...words].join(' ');
}
