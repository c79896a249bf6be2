/** The file that has the system start the agent at login: a systemd user unit, or a launchd property list. */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { MintError } from '../errors.ts';
import { homeDirectory, type Paths } from '../platform/paths.ts';
import { programPath } from '../platform/program.ts';

export interface LoginUnit {
  readonly path: string;
  readonly text: string;
}

export const systemdUnit = 'mint-ssh-agent.service';
export const launchdLabel = 'mint-ssh.agent';

/** Stands in for the seal while that is computed. */
const unsealed = '0'.repeat(64);
const seal = /(Written by `mint-ssh agent install`; sha256 of the rest: )([0-9a-f]{64})/;

/** @throws MintError `ssh-config-unsafe` for a path that no such file can name */
export function loginUnit(paths: Paths, platform: NodeJS.Platform = process.platform): LoginUnit {
  if (platform === 'win32') {
    throw new MintError('usage', 'there is nothing to install on Windows', {
      hint: 'the agent comes up with the first connection; to have it from login on, put `mint-ssh agent --stay` into a task of the Task Scheduler',
    });
  }
  const words = [programPath(), 'agent', '--stay', '--config-dir', paths.dir];
  const home = homeDirectory();
  return platform === 'darwin'
    ? { path: join(home, 'Library/LaunchAgents', `${launchdLabel}.plist`), text: launchdText(words) }
    : { path: join(home, '.config/systemd/user', systemdUnit), text: systemdText(words) };
}

/** Whether we wrote it, and nobody has changed it since. */
export function isOurUnit(text: string): boolean {
  const [, , sum] = seal.exec(text) ?? [];
  return sum !== undefined && sum === sumOf(text.replace(seal, `$1${unsealed}`));
}

/** See systemd.service(5). Without a restart after status 0 `mint-ssh agent stop` means what it says. */
export function systemdText(words: readonly string[]): string {
  const lines = [
    `# ${mark}`,
    '[Unit]',
    'Description=mint-ssh agent: keys for ssh to your VMs, in memory',
    'Documentation=man:mint-ssh(1)',
    '',
    '[Service]',
    `ExecStart=${runnable(words).map(systemdWord).join(' ')}`,
    // No core file: the agent's memory holds keys.
    'LimitCORE=0',
    'Restart=on-failure',
    'RestartSec=5',
    '',
    '[Install]',
    'WantedBy=default.target',
    '',
  ];
  return sealed(lines.join('\n'));
}

/** See launchd.plist(5); KeepAlive likewise. */
export function launchdText(words: readonly string[]): string {
  const lines = [
    '<?xml version="1.0" encoding="UTF-8"?>',
    '<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">',
    `<!-- ${mark} -->`,
    '<plist version="1.0">',
    '<dict>',
    `  <key>Label</key><string>${launchdLabel}</string>`,
    '  <key>ProgramArguments</key>',
    '  <array>',
    ...words.map((word) => `    <string>${xmlText(word)}</string>`),
    '  </array>',
    '  <key>RunAtLoad</key><true/>',
    '  <key>KeepAlive</key><dict><key>SuccessfulExit</key><false/></dict>',
    '  <key>SoftResourceLimits</key><dict><key>Core</key><integer>0</integer></dict>',
    '  <key>HardResourceLimits</key><dict><key>Core</key><integer>0</integer></dict>',
    '  <key>ProcessType</key><string>Background</string>',
    '</dict>',
    '</plist>',
    '',
  ];
  return sealed(lines.join('\n'));
}

const mark = `Written by \`mint-ssh agent install\`; sha256 of the rest: ${unsealed}`;

function sealed(text: string): string {
  return text.replace(seal, `$1${sumOf(text)}`);
}

function sumOf(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

/** systemd takes no quotes and no backslash in the path of a program: env(1) does. */
function runnable(words: readonly string[]): readonly string[] {
  const [program = ''] = words;
  if (!/['"\\]/.test(program)) return words;
  if (!program.includes('=')) return ['/usr/bin/env', ...words];
  throw unfit(program, 'both a quote and an equals sign');
}

/**
 * In double quotes, where systemd.syntax(7) reads C escapes; `%` begins a specifier everywhere, `$` a variable in
 * every word but the program's own path.
 */
function systemdWord(word: string, index: number): string {
  const escaped = checked(word).replace(/[\\"]/g, '\\$&').replaceAll('%', '%%');
  return `"${index === 0 ? escaped : escaped.replaceAll('$', '$$$$')}"`;
}

function xmlText(word: string): string {
  return checked(word).replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

function checked(word: string): string {
  if (!/[\p{Cc}\p{Cs}\p{Cn}]/u.test(word)) return word;
  throw unfit(word, 'a control character');
}

function unfit(path: string, what: string): MintError {
  return new MintError('ssh-config-unsafe', `${JSON.stringify(path)} has ${what}`, {
    hint: 'keep the program and its directory where the path is plain: --config-dir DIR',
  });
}
