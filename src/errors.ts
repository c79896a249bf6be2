/**
 * The one error class. A code is a stable, kebab-case word that scripts may match; a message says what
 * happened, in lower case and without a full stop; a hint says what the reader can do next.
 */
export type ErrorCode =
  | 'usage'
  | 'bad-settings'
  | 'bad-vm-name'
  | 'vm-not-found'
  | 'vm-ambiguous'
  | 'vm-not-running'
  | 'aws-credentials'
  | 'aws-denied'
  | 'aws-throttled'
  | 'aws-unreachable'
  | 'push-failed'
  | 'dial-failed'
  | 'not-ssh'
  | 'host-key-changed'
  | 'host-key-unverified'
  | 'host-key-type'
  | 'known-hosts-corrupt'
  | 'unsafe-permissions'
  | 'ssh-config-unsafe'
  | 'agent-unavailable'
  | 'agent-in-use'
  | 'login-refused'
  | 'debug-limit'
  | 'debug-not-found'
  | 'debug-unarmed'
  | 'job-exists'
  | 'job-not-found'
  | 'job-lost'
  | 'io-failed'
  | 'key-invalid'
  | 'key-options'
  | 'key-private'
  | 'key-exists'
  | 'key-not-found'
  | 'key-file'
  | 'key-name'
  | 'key-store'
  | 'key-passphrase'
  | 'key-format';

const usageCodes: ReadonlySet<ErrorCode> = new Set(['usage', 'bad-settings', 'bad-vm-name', 'key-name']);
const safetyCodes: ReadonlySet<ErrorCode> = new Set([
  'host-key-changed',
  'host-key-unverified',
  'host-key-type',
  'known-hosts-corrupt',
  'unsafe-permissions',
  'ssh-config-unsafe',
]);

export interface ErrorDetails {
  readonly hint?: string | undefined;
  readonly cause?: unknown;
  /** `not-ssh` has two meanings: nothing that speaks SSH (1), or packets that were not predicted (3). */
  readonly unsafe?: boolean | undefined;
}

export class MintError extends Error {
  readonly code: ErrorCode;
  readonly hint: string | undefined;
  readonly unsafe: boolean;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = 'MintError';
    this.code = code;
    this.hint = details.hint;
    this.unsafe = details.unsafe ?? safetyCodes.has(code);
  }

  /** 2 where the caller's words or settings are wrong, 3 where safety refused, else 1. */
  get exitStatus(): 1 | 2 | 3 {
    if (usageCodes.has(this.code)) return 2;
    return this.unsafe ? 3 : 1;
  }
}

const systemErrorHints: Readonly<Record<string, string>> = {
  ENOSPC: 'the disk is full: free some space and run the command again',
  EDQUOT: 'your disk quota is used up: free some space and run the command again',
  EFBIG: 'the file size limit of this process is reached (ulimit -f): raise it and run the command again',
  EROFS: 'the file system is read-only: use --config-dir with a directory that is writable',
  EACCES: 'permission denied: check the owner and the mode of the file and of the directories above it',
  EPERM: 'operation not permitted: check the owner and the flags of the file',
  EMFILE: 'this process has too many open files (ulimit -n): raise the limit and run the command again',
  ENFILE: 'the machine has too many open files: close some programs and run the command again',
  ENOMEM: 'the machine is out of memory: close some programs and run the command again',
  EAGAIN:
    'the machine is short of processes or memory (ulimit -u): close some programs and run the command again',
  E2BIG: 'the command line or the environment is too long: pass the data on standard input or in a file',
  ENOTDIR: 'a part of that path is a file, not a directory',
  EIO: 'the disk or the terminal reported an I/O error: check it and run the command again',
};

/**
 * What the user can do about an error of the operating system.
 *
 * @param code an errno name such as `ENOSPC`; undefined for an error of another kind
 * @returns undefined where we have nothing useful to say
 */
export function systemErrorHint(code: string | undefined): string | undefined {
  return code === undefined ? undefined : systemErrorHints[code];
}

/** The user pressed Ctrl-C at a prompt: the program ends with status 130, as one that SIGINT ended, and says nothing. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted';
}
