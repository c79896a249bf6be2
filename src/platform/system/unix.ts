import { closeSync, fstatSync, openSync, readFileSync, statSync } from 'node:fs';
import type { System } from './interface.ts';

const hasProc = process.platform === 'linux';

/** Linux and macOS. */
export const unix: System = {
  name: process.platform,
  programName: 'mint-ssh',
  homeVariable: 'HOME',
  shortTemporaryDirectory: '/tmp',
  agentVariables: ['PATH', 'HOME', 'TZ'],
  pathForm: /^(?:\/|~\/)[^\p{Cc}]{1,4000}$/u,

  hasPipes: false,
  hasModes: true,
  canReplaceOpenFiles: true,
  hasProc,
  hasSharedConnections: true,
  hasPasswd: true,
  loginService: process.platform === 'darwin' ? 'launchd' : 'systemd',

  hasConsole: false,
  terminal: '/dev/tty',
  // Without /proc, each check for the foreground starts a process.
  terminalPollMs: hasProc ? 50 : 250,

  sshVersionPrefix: 'OpenSSH_',
  installSshHint: 'install the OpenSSH client, for example with `apt-get install openssh-client`',
  newerSshHint: 'install OpenSSH 8.4 or newer',

  variableName: (name) => name,

  /** POSIX sh: the words are passed as arguments, never as text of the script. */
  start(program, words, keepsEnvironment) {
    const reduce = keepsEnvironment ? '' : 'unset PWD OLDPWD SHLVL; ';
    const script = `ulimit -c 0 2>/dev/null; ${reduce}exec "$0" "$@"`;
    return { file: '/bin/sh', words: ['-c', script, program, ...words] };
  },

  processGroup: (leader) => -leader,

  interruptForeground: () => void process.kill(0, 'SIGINT'),

  isInForeground() {
    try {
      if (hasProc) {
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
  },

  isNullDevice(descriptor) {
    const { dev, ino, rdev } = fstatSync(descriptor);
    const nowhere = statSync('/dev/null');
    return dev === nowhere.dev && ino === nowhere.ino && rdev === nowhere.rdev;
  },

  closeStandardOutput(descriptor) {
    closeSync(descriptor);
    openSync('/dev/null', 'w');
    return true;
  },
};
