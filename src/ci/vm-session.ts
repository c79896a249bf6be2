/** Sessions of ssh on a job's VM, with the job's key: arming its end, and waiting for the person to end it. */
import type { ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { MintError } from '../errors.ts';
import type { Connect } from '../keys/remote-file.ts';
import { RemoteOutput } from '../keys/remote-output.ts';
import { type Login, withLoginConfig } from '../ssh-config/login-config.ts';
import { sshArguments, sshStatus, startProgram } from '../ssh-config/ssh-child.ts';
import { armProgram, type RemoteProgram, watchProgram } from './vm-script.ts';

/** From the session's first word to its last, in milliseconds: every way to arm the end is tried within it. */
const armTime = 60_000;
/** The watch says every 15 s that it lives: after this time in milliseconds without a word it does not. */
const silence = 60_000;

/** What ends the VM from inside, and how it came about. */
export type Arming =
  | { readonly kind: 'armed'; readonly by: string }
  /** Nothing is armed, and nothing else has changed. */
  | { readonly kind: 'refused'; readonly error: MintError }
  /** The session broke off: it may be armed. */
  | { readonly kind: 'unknown'; readonly error: MintError };

/** Calls `action` with a way to start a command in a session on the VM. @throws MintError as `withLoginConfig` */
export async function onVm<T>(login: Login, action: (connect: Connect) => Promise<T>): Promise<T> {
  return await withLoginConfig(login, (file) => {
    // What a user's own config may add to every session has no place in this one.
    const plain = ['RemoteCommand=none', 'ClearAllForwardings=yes', 'ControlPath=none', 'BatchMode=yes'];
    const options = ['-T', '-a', '-x', ...plain.flatMap((option) => ['-o', option])];
    return action((remote) => {
      const words = sshArguments(file, options, login.vm.name, remote);
      const child = startProgram('ssh', words, { stdio: ['pipe', 'pipe', 'inherit'] });
      // A session that ends early is known by what it did not say.
      child.stdin?.on('error', () => {});
      return child;
    });
  });
}

/** Arms the end of the VM, `seconds` from now. */
export async function armEnd(
  connect: Connect,
  options: {
    readonly vm: string;
    readonly lease: string;
    readonly seconds: number;
    readonly endCommand: string | undefined;
  },
): Promise<Arming> {
  const { vm } = options;
  return await converse(
    connect,
    (nonce) => armProgram({ ...options, nonce }),
    async (output, child) => {
      if ((await output.line()) !== 'hello') return { kind: 'refused', error: noSession(vm) };
      const limit = setTimeout(() => child.kill('SIGKILL'), armTime);
      try {
        return outcomeOf(vm, await output.line());
      } finally {
        clearTimeout(limit);
      }
    },
  );
}

function outcomeOf(vm: string, line: string | undefined): Arming {
  const [, word, detail = ''] = /^(armed|fail) ([a-z-]+)$/.exec(line ?? '') ?? [];
  if (word === 'armed') return { kind: 'armed', by: detail };
  const refused = (message: string, hint: string): Arming => ({
    kind: 'refused',
    error: new MintError('debug-unarmed', `${message} on ${vm}; nobody was let in`, { hint }),
  });
  if (detail === 'root') {
    return refused(
      'the end cannot be armed without root, and sudo without a password does not work',
      'begin the job with --sudo, or give its user NOPASSWD in sudoers',
    );
  }
  if (detail === 'end') {
    return refused(
      'neither systemd-run nor shutdown arms the end',
      "say what ends this machine, as root: --end-command '/usr/sbin/poweroff'",
    );
  }
  const error = new MintError('io-failed', `the session on ${vm} broke off while its end was being armed`);
  return { kind: 'unknown', error };
}

/**
 * Makes the end command on the VM, and waits until the person inside uses it. `ready` is called once it is there.
 * @returns whether it was used; false where the session was lost, or `signal` ended it
 * @throws MintError `io-failed` where it cannot be made
 */
export async function watchForEnd(
  connect: Connect,
  options: {
    readonly vm: string;
    readonly lease: string;
    readonly seconds: number;
    readonly signal: AbortSignal;
  },
  ready: () => void,
): Promise<boolean> {
  const { vm, signal } = options;
  return await converse(
    connect,
    (nonce) => watchProgram({ ...options, nonce }),
    async (output, child) => {
      const kill = () => child.kill('SIGTERM');
      signal.addEventListener('abort', kill);
      let silent = setTimeout(kill, silence);
      try {
        for (let line = await output.line(); line !== undefined; line = await output.line()) {
          clearTimeout(silent);
          silent = setTimeout(kill, silence);
          if (line === 'watching') ready();
          if (line === 'ended') return true;
          if (line.startsWith('fail')) {
            throw new MintError('io-failed', `the command that ends debug access cannot be made on ${vm}`, {
              hint: 'is the disk full, or the home directory not its user’s?',
            });
          }
        }
        return false;
      } finally {
        clearTimeout(silent);
        signal.removeEventListener('abort', kill);
      }
    },
  );
}

async function converse<T>(
  connect: Connect,
  program: (nonce: string) => RemoteProgram,
  talk: (output: RemoteOutput, child: ChildProcess) => Promise<T>,
): Promise<T> {
  const nonce = randomBytes(8).toString('hex');
  const { command, input } = program(nonce);
  const child = connect(command);
  sshStatus(child).catch(() => {});
  const output = new RemoteOutput(child, `mint-debug-${nonce} `);
  try {
    child.stdin?.write(input);
    return await talk(output, child);
  } finally {
    child.stdin?.destroy();
    await output.end();
  }
}

function noSession(vm: string): MintError {
  return new MintError('io-failed', `no session on ${vm} came about; nobody was let in`, {
    hint: `what ssh said stands above; \`mint-ssh ssh ${vm}\` shows whether a login works`,
  });
}
