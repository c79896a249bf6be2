import { printable } from '../cli/terminal.ts';
import { MintError } from '../errors.ts';

const busy = { code: 'io-failed', what: 'another command is changing authorized_keys' } as const;

/** The error for each failure word that the remote script prints. */
const failures = {
  home: { code: 'key-file', what: 'the user there has no home directory' },
  directory: { code: 'key-file', what: '~/.ssh cannot be made there' },
  link: { code: 'key-file', what: 'authorized_keys is a link that leads to no file' },
  kind: { code: 'key-file', what: 'authorized_keys is not a regular file' },
  read: { code: 'key-file', what: 'authorized_keys cannot be read by this user' },
  owner: { code: 'key-file', what: 'authorized_keys could not be replaced with the same owner and mode' },
  write: { code: 'io-failed', what: 'the new authorized_keys could not be written' },
  short: { code: 'io-failed', what: 'the new authorized_keys did not arrive whole' },
  date: { code: 'io-failed', what: '`date` there cannot tell when the key ends' },
  busy,
} as const;

const unchangedHint = 'the file is unchanged: free disk space or fix its permissions, then run again';

/** @param line the last line of the script; undefined if the session ended without one */
export function remoteFailure(vm: string, line: string | undefined): MintError {
  const [, word = '', reason = ''] = /^fail (\S+) ?(.*)$/.exec(line ?? '') ?? [];
  if (!Object.hasOwn(failures, word)) {
    return new MintError('io-failed', `the session on ${vm} ended before authorized_keys was changed`, {
      hint: `check the file: mint-ssh key list ${vm}`,
    });
  }
  const { code, what } = failures[word as keyof typeof failures];
  const told = printable(reason.trim().slice(0, 200));
  const hints: Readonly<Record<string, string>> = {
    write: unchangedHint,
    short: unchangedHint,
    owner: unchangedHint,
    // The path comes from the VM, so it is not put into a command.
    busy:
      'if no other command is running, a killed one left .authorized_keys.lock behind, in the directory of ' +
      `authorized_keys: remove it there (mint-ssh ssh ${vm}), or try again in 5 minutes`,
  };
  const because = told === '' || word === 'busy' ? '' : `: ${told}`;
  return new MintError(code, `on ${vm}, ${what}${because}`, { hint: hints[word] });
}
