/** The file that makes the system start the agent at login: a systemd user unit, or a launchd property list. */

import { join } from 'node:path';
import { MintError } from '../errors.ts';
import { homeDirectory, type Paths } from '../platform/paths.ts';
import { programPath } from '../platform/program.ts';
import { system } from '../platform/system/system.ts';

export interface LoginUnit {
  readonly path: string;
  readonly text: string;
}

export const systemdUnit = 'mint-ssh-agent.service';
export const launchdLabel = 'mint-ssh.agent';

const mark = 'Written by `mint-ssh agent install`';
const note = `${mark}, which replaces this file.`;

/**
 * @returns the unit for this platform, with the path where the system looks for it
 * @throws MintError `ssh-config-unsafe` if a path cannot be written into such a file; `usage` on Windows
 */
export function loginUnit(paths: Paths, service = system.loginService): LoginUnit {
  if (service === undefined) {
    throw new MintError('usage', 'there is nothing to install on Windows', {
      hint: 'the first connection starts the agent; to start it at login, add a task to the Task Scheduler that runs `mint-ssh agent --stay`',
    });
  }
  const words = [programPath(), 'agent', '--stay', '--config-dir', paths.dir];
  const home = homeDirectory();
  return service === 'launchd'
    ? { path: join(home, 'Library/LaunchAgents', `${launchdLabel}.plist`), text: launchdText(words) }
    : { path: join(home, '.config/systemd/user', systemdUnit), text: systemdText(words) };
}

/** @returns whether `mint-ssh agent install` wrote a file with this text */
export function isOurUnit(text: string): boolean {
  return text.split('\n', 3).some((line) => line.includes(mark));
}

/** See systemd.service(5). `Restart=on-failure`: `mint-ssh agent stop` must stop the agent for good. */
export function systemdText(words: readonly string[]): string {
  const lines = [
    `# ${note}`,
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
  return lines.join('\n');
}

/** See launchd.plist(5). `SuccessfulExit` false: launchd restarts the agent only if it failed. */
export function launchdText(words: readonly string[]): string {
  const lines = [
    '<?xml version="1.0" encoding="UTF-8"?>',
    '<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">',
    `<!-- ${note} -->`,
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
  return lines.join('\n');
}

/** systemd accepts no quote and no backslash in the path of a program; env(1) accepts both. */
function runnable(words: readonly string[]): readonly string[] {
  const [program = ''] = words;
  if (!/['"\\]/.test(program)) return words;
  if (!program.includes('=')) return ['/usr/bin/env', ...words];
  throw unfit(program, 'both a quote and an equals sign');
}

/**
 * Quotes a word as systemd.syntax(7) reads it: C escapes in double quotes. `%` starts a specifier everywhere; `$` starts a
 * variable in every word except the program's path.
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
    hint: 'install the program, or set --config-dir, at a path without such characters',
  });
}
