import { system } from '../platform/system/system.ts';
import { type Terminal, Tty } from './tty.ts';
import { WindowsConsole } from './windows-console.ts';

/** @returns the terminal of this process; undefined if it has none */
export function openTerminal(): Terminal | undefined {
  return system.hasConsole ? WindowsConsole.open() : Tty.open();
}
