/** Runs ssh for a VM. What is to run on the VM never becomes an option of the ssh that runs here. */
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { constants } from 'node:os';
import { MintError } from '../errors.ts';
import { noSsh } from './ssh-client.ts';

/**
 * The length of one argument in bytes, without its NUL, that Linux passes to a program (MAX_ARG_STRLEN in execve(2)).
 * sshd on the VM hands the whole command to the login shell as one argument.
 */
const maxCommandBytes = 131_071;

/**
 * The arguments of ssh for one command on one VM. ssh parses options behind the host name as well, and starts a login
 * shell when the command is empty, so the host stands behind `--` and an empty command is refused.
 *
 * @param configFile for `-F`
 * @param options words for ssh in front of the host
 * @param command what sshd gives to the user's login shell
 * @throws MintError `usage` for a command that is empty or longer than a VM accepts
 */
export function sshArguments(
  configFile: string,
  options: readonly string[],
  host: string,
  command: string,
): string[] {
  if (command === '') throw new MintError('usage', 'the command for the VM is empty');
  const bytes = Buffer.byteLength(command);
  if (bytes > maxCommandBytes) {
    throw new MintError('usage', `the command for the VM has ${bytes} bytes, more than ${maxCommandBytes}`, {
      hint: 'copy it to the VM as a script (scp), and run that',
    });
  }
  return ['-F', configFile, ...options, '--', host, command];
}

/**
 * `child_process.spawn` for ssh and its like.
 *
 * @throws MintError `usage` where the arguments are longer than this machine passes to a program
 */
export function startProgram(program: string, words: readonly string[], options: SpawnOptions): ChildProcess {
  try {
    return spawn(program, words, options);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'E2BIG') throw cause;
    throw new MintError('usage', `the arguments for ${program} are longer than this machine accepts`, {
      cause,
      hint: 'copy long input to the VM as a file (scp)',
    });
  }
}

export interface StatusOptions {
  /** False where the caller handles the signals that would end this process. */
  readonly passSignals: boolean;
}

/**
 * Waits for ssh. Until it ends, SIGTERM and SIGHUP are passed on to it, and SIGINT and SIGQUIT are ignored here,
 * because the terminal sends them to ssh as well.
 *
 * @param explain the error for a program other than ssh that cannot be started
 * @returns the exit status; 128 and the signal's number where a signal ended it, as in a shell
 * @throws MintError `io-failed` where it cannot be started
 */
export function sshStatus(
  child: ChildProcess,
  explain: (cause: Error) => MintError = noSsh,
  { passSignals }: StatusOptions = { passSignals: true },
): Promise<number> {
  return new Promise((resolve, reject) => {
    const ignore = () => {};
    const forward = (signal: NodeJS.Signals) => child.kill(signal);
    process.on('SIGINT', ignore).on('SIGQUIT', ignore);
    if (passSignals) process.on('SIGTERM', forward).on('SIGHUP', forward);
    const settle = (action: () => void) => {
      process.off('SIGINT', ignore).off('SIGQUIT', ignore);
      process.off('SIGTERM', forward).off('SIGHUP', forward);
      action();
    };
    child.once('error', (error) => settle(() => reject(explain(error))));
    child.once('exit', (status, signal) =>
      settle(() => resolve(status ?? 128 + (signal === null ? 0 : constants.signals[signal]))),
    );
  });
}
