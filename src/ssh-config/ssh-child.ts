/** Runs ssh for a VM, so that the VM's command cannot become an option of the local ssh. */
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
 * Builds the arguments of ssh for one command on one VM. ssh also parses options after the host name, and starts a login
 * shell for an empty command. So `--` comes before the host, and an empty command is refused.
 *
 * @param configFile for `-F`
 * @param options arguments for ssh before the host
 * @param command the line that sshd gives to the user's login shell
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
      hint: 'copy it to the VM as a script with scp, and run the script',
    });
  }
  return ['-F', configFile, ...options, '--', host, command];
}

/**
 * Calls `child_process.spawn`.
 *
 * @throws MintError `usage` if the arguments are longer than the system allows
 */
export function startProgram(program: string, words: readonly string[], options: SpawnOptions): ChildProcess {
  try {
    return spawn(program, words, options);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'E2BIG') throw cause;
    throw new MintError('usage', `the arguments for ${program} are longer than this system allows`, {
      cause,
      hint: 'copy long input to the VM as a file, with scp',
    });
  }
}

export interface StatusOptions {
  /** False if the caller handles the signals that would end this process. */
  readonly passSignals: boolean;
}

/**
 * Waits for ssh. Until it ends, SIGTERM and SIGHUP are passed on to it, and SIGINT and SIGQUIT are ignored here,
 * because the terminal sends them to ssh as well.
 *
 * @param explain makes the error if a program other than ssh cannot be started
 * @returns the exit status; 128 plus the signal's number if a signal ended it, as in a shell
 * @throws MintError `io-failed` if it cannot be started
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
