/** `mint-ssh agent install|uninstall`: the agent from login on, by systemd or launchd. */
import { execFile } from 'node:child_process';
import { lstatSync, mkdirSync, readlinkSync, realpathSync, unlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { hint, print, printable, say } from '../cli/terminal.ts';
import { MintError } from '../errors.ts';
import { ensurePrivateDirectory, ioFailed, quoted, readPrivateFile, writeAtomic } from '../platform/files.ts';
import type { Paths } from '../platform/paths.ts';
import { unifiedDiff } from '../ssh-config/diff.ts';
import { isOurUnit, type LoginUnit, launchdLabel, loginUnit, systemdUnit } from './login-unit.ts';

/** What starts programs at login here; each list is the arguments of one run. */
interface Manager {
  readonly program: string;
  /** Ends well where it runs for this user. */
  readonly isLive: readonly string[];
  /** Ends well where it has the unit already and need not be told. */
  readonly hasUnit?: readonly string[];
  readonly start: readonly (readonly string[])[];
  readonly stop: readonly (readonly string[])[];
  /** When the file is gone. */
  readonly forget: readonly (readonly string[])[];
}

const unitBytes = 64 * 1024;
const runLimit = 30_000;

/** Writes the unit where it is not there yet, and has it started. @throws MintError `io-failed`, `unsafe-permissions` */
export async function installAgent(paths: Paths): Promise<number> {
  const unit = loginUnit(paths);
  const manager = managerOf(unit);
  const isLive = await runs(manager, manager.isLive);
  const found = readUnit(unit);
  const diff = unifiedDiff(unit.path, found, Buffer.from(unit.text));
  if (diff === '') say(`${quoted(unit.path)} is there already`);
  else {
    print(diff);
    writeUnit(unit);
  }
  if (!isLive) {
    say(`${manager.program} does not reach a session of yours from here; in one, run:`);
    for (const words of manager.start) hint(commandLine(manager, words));
    return 0;
  }
  const knows = manager.hasUnit !== undefined && (await runs(manager, manager.hasUnit));
  if (!knows) for (const words of manager.start) await run(manager, words);
  say('the agent is up from login on');
  if (diff !== '' && found !== undefined) hint('what has changed counts from the next login on');
  return 0;
}

/**
 * Removes the unit, and nothing that is not ours.
 *
 * @param endAgent throws `agent-in-use` where it holds keys that would be lost
 * @throws MintError `io-failed`
 */
export async function uninstallAgent(paths: Paths, endAgent: () => Promise<unknown>): Promise<number> {
  const unit = loginUnit(paths);
  if (readUnit(unit) === undefined) {
    say('nothing is installed');
    return 0;
  }
  await endAgent();
  const manager = managerOf(unit);
  const isLive = await runs(manager, manager.isLive).catch(() => false);
  const knows = isLive && (manager.hasUnit === undefined || (await runs(manager, manager.hasUnit)));
  if (knows) for (const words of manager.stop) await run(manager, words);
  removeLink(join(dirname(unit.path), 'default.target.wants', systemdUnit), unit.path);
  remove(unit.path);
  if (isLive) for (const words of manager.forget) await run(manager, words);
  say(`removed ${quoted(unit.path)}; connections start the agent by themselves`);
  return 0;
}

function managerOf({ path }: LoginUnit): Manager {
  if (process.platform === 'darwin') {
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

/** What is there and ours. @throws MintError where it is not ours */
function readUnit({ path }: LoginUnit): Buffer | undefined {
  const found = readPrivateFile(path, { maxBytes: unitBytes });
  if (found === undefined || isOurUnit(found.toString('utf8'))) return found;
  throw new MintError('io-failed', `${quoted(path)} is not as mint-ssh wrote it, and stays as it is`, {
    hint: 'what is yours can go to another name, or into a drop-in beside it; then move the file away and run again',
  });
}

function writeUnit({ path, text }: LoginUnit): void {
  const directory = dirname(path);
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    // Whoever keeps their settings elsewhere has links on the way.
    ensurePrivateDirectory(realpathSync(directory));
  } catch (error) {
    throw error instanceof MintError ? error : ioFailed('create', directory, error);
  }
  writeAtomic(path, text, { mode: 0o644 });
}

/** What `systemctl enable` made, where nobody is there to undo it. */
function removeLink(link: string, target: string): void {
  try {
    if (lstatSync(link).isSymbolicLink() && readlinkSync(link) === target) unlinkSync(link);
  } catch {
    // There is none.
  }
}

function remove(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    throw ioFailed('remove', path, error);
  }
}

/** @throws MintError `io-failed` with its own words where it does not end well */
async function run(manager: Manager, words: readonly string[]): Promise<void> {
  const { isDone, stderr } = await outcome(manager, words);
  if (isDone) return;
  const [line = ''] = stderr.trim().split('\n');
  throw new MintError('io-failed', `\`${commandLine(manager, words)}\` failed: ${printable(line)}`);
}

async function runs(manager: Manager, words: readonly string[]): Promise<boolean> {
  return (await outcome(manager, words)).isDone;
}

/** @throws MintError `io-failed` where there is no such program */
function outcome(
  { program }: Manager,
  words: readonly string[],
): Promise<{ isDone: boolean; stderr: string }> {
  return new Promise((resolve, reject) => {
    execFile(program, words, { timeout: runLimit, encoding: 'utf8' }, (error, _stdout, stderr) => {
      if (error !== null && (error as NodeJS.ErrnoException).code === 'ENOENT') reject(noManager(program));
      else resolve({ isDone: error === null, stderr });
    });
  });
}

function noManager(program: string): MintError {
  return new MintError('io-failed', `there is no ${program} on this machine`, {
    hint: 'have your session start this by its own means: mint-ssh agent --stay',
  });
}

function commandLine({ program }: Manager, words: readonly string[]): string {
  return [program, ...words].join(' ');
}
