import { fstatSync } from 'node:fs';
import type { System } from './interface.ts';

export const windows: System = {
  name: 'win32',
  programName: 'mint-ssh.exe',
  homeVariable: 'USERPROFILE',
  shortTemporaryDirectory: undefined,
  agentVariables: [
    'PATH',
    'HOME',
    'TZ',
    'USERPROFILE',
    // Wine has the user's name there, and userInfo() fails without it.
    'WINEUSERNAME',
    'SYSTEMROOT',
    'SYSTEMDRIVE',
    'PATHEXT',
    'APPDATA',
    'LOCALAPPDATA',
    'TEMP',
    'TMP',
  ],
  /** With either slash, and `\\\\.\\pipe\\…` among them. */
  pathForm: /^(?:[A-Za-z]:[\\/]|[\\/]{2}|~\/)[^\p{Cc}]{1,4000}$/u,

  hasPipes: true,
  hasModes: false,
  canReplaceOpenFiles: false,
  hasProc: false,
  hasSharedConnections: false,
  hasPasswd: false,
  loginService: undefined,

  hasConsole: true,
  terminal: undefined,
  terminalPollMs: 250,

  /** The ssh of Git for Windows knows no named pipes. */
  sshVersionPrefix: 'OpenSSH_for_Windows_',
  installSshHint: 'add the optional feature "OpenSSH Client" in the Settings of Windows',
  newerSshHint: 'install OpenSSH 8.4 or newer: winget install Microsoft.OpenSSH.Preview',

  /** Upper and lower case are not told apart. */
  variableName: (name) => name.toUpperCase(),

  start: (program, words) => ({ file: program, words }),

  /** There are no process groups; the proxy that ssh has started ends when its stdin does. */
  processGroup: (leader) => leader,

  /** No program is stopped for touching its console. */
  isInForeground: () => true,
  interruptForeground: () => {},

  /** Only Unix needs this: ssh on Windows has no ControlPersist, which leaves a proxy without its stderr. */
  isNullDevice(descriptor) {
    fstatSync(descriptor);
    return false;
  },

  /** The other side sees the end when this process exits, and not before. */
  closeStandardOutput: () => false,
};
