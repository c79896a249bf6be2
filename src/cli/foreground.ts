/** Whether this process is in the foreground of a terminal, and writing to that terminal. */
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import { writeToConsole } from './windows-console.ts';

/**
 * True in the terminal's foreground process group: a background job that touches its terminal is stopped
 * by it for ever (`ssh dev &`).
 */
export function inForeground(): boolean {
  if (process.platform === 'win32') return true;
  try {
    if (process.platform === 'linux') {
      // proc(5): the command in parentheses is followed by state, ppid, pgrp, session, tty_nr, tpgid.
      const fields = readFileSync('/proc/self/stat', 'latin1').split(') ').at(-1)?.split(' ') ?? [];
      return fields[4] !== '0' && fields[2] === fields[5];
    }
    // Loaded only here: every connection starts mint-ssh, and few need this.
    const { execFileSync } = process.getBuiltinModule('node:child_process');
    const listed = execFileSync('ps', ['-o', 'pgid=,tpgid=', '-p', String(process.pid)], {
      encoding: 'utf8',
    });
    const [group, foreground] = listed.trim().split(/\s+/);
    return group === foreground;
  } catch {
    return false;
  }
}

/** Writes to the terminal itself, past any redirection. @returns false without a terminal */
export function writeToTerminal(text: string): boolean {
  if (!inForeground()) return false;
  try {
    if (process.platform === 'win32') return writeToConsole(text);
    const terminal = openSync('/dev/tty', 'w');
    try {
      writeSync(terminal, text);
    } finally {
      closeSync(terminal);
    }
    return true;
  } catch {
    return false;
  }
}
