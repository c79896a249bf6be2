import type { ChildProcess } from 'node:child_process';
import { constants } from 'node:os';
import type { MintError } from '../errors.ts';
import { noSsh } from './ssh-client.ts';

/**
 * Resolves to ssh's exit status; what a signal ended is 128 and its number, as a shell has it. Until then the
 * signals that would end us end ssh instead, so that whoever started it can clean up. @throws MintError `io-failed`
 *
 * @param explain the error of a program that could not be started, where that is another one than ssh
 */
export function sshStatus(
  child: ChildProcess,
  explain: (cause: Error) => MintError = noSsh,
): Promise<number> {
  return new Promise((resolve, reject) => {
    // The terminal's own signals reach ssh as well: we only have to outlive it. Others we hand on.
    const ignore = () => {};
    const handOn = (signal: NodeJS.Signals) => child.kill(signal);
    process.on('SIGINT', ignore).on('SIGQUIT', ignore);
    process.on('SIGTERM', handOn).on('SIGHUP', handOn);
    const settle = (action: () => void) => {
      process.off('SIGINT', ignore).off('SIGQUIT', ignore);
      process.off('SIGTERM', handOn).off('SIGHUP', handOn);
      action();
    };
    child.once('error', (error) => settle(() => reject(explain(error))));
    child.once('exit', (status, signal) =>
      settle(() => resolve(status ?? 128 + (signal === null ? 0 : constants.signals[signal]))),
    );
  });
}
