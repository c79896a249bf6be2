/** Reads `~/.ssh/authorized_keys` on a VM and replaces it atomically, through an ssh session. */
import type { ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { MintError } from '../errors.ts';
import type { Clock } from './expiry.ts';
import { remoteFailure } from './remote-failure.ts';
import { RemoteOutput } from './remote-output.ts';
import { remoteCommand, type ScriptOptions } from './remote-script.ts';

export interface RemoteFile {
  /** The bytes of the file; empty if it does not exist. */
  readonly bytes: Buffer;
  readonly clock: Clock;
  /** The time `seconds` from now in the VM's own time, for `expiry-time`. */
  readonly expiry: string | undefined;
}

export interface Change<T> {
  /** The whole new file; undefined to leave it as it is. */
  readonly bytes: Buffer | undefined;
  readonly result: T;
}

/** Starts `command` in a login shell on the VM, with stdin and stdout as pipes. */
export type Connect = (command: string) => ChildProcess;

export interface RemoteOptions extends Pick<ScriptOptions, 'mode' | 'seconds'> {
  readonly vm: string;
}

const longestFile = 1 << 20;
/** The time limit of the script, which waits up to 30 s for other commands that change the same file. */
const scriptTimeoutMs = 60_000;
const maxAttempts = 5;

/**
 * Reads the file and replaces it with the result of `decide`. Unless the mode is `look`, a lock keeps other `key` commands
 * from changing it meanwhile; if another program changed it, everything is repeated. The new file has the owner and mode
 * of the old one, and replaces it atomically.
 *
 * @throws MintError `io-failed`, `key-file`, and what `decide` throws
 */
export async function changeRemoteFile<T>(
  connect: Connect,
  options: RemoteOptions,
  decide: (file: RemoteFile) => Change<T>,
): Promise<T> {
  for (let attempt = 1; attempt <= maxAttempts; attempt += 1) {
    const outcome = await changeOnce(connect, options, decide);
    if (outcome !== 'changed') return outcome.result;
  }
  throw new MintError('io-failed', `authorized_keys on ${options.vm} kept changing; giving up`, {
    hint: 'another program writes to it: try again later',
  });
}

async function changeOnce<T>(
  connect: Connect,
  { vm, ...options }: RemoteOptions,
  decide: (file: RemoteFile) => Change<T>,
): Promise<Change<T> | 'changed'> {
  const nonce = randomBytes(8).toString('hex');
  const { command, script } = remoteCommand({ nonce, ...options });
  const child = connect(command);
  const output = new RemoteOutput(child, `mint-key-${nonce} `);
  // If the session ended early, the expected lines are missing.
  child.stdin?.on('error', () => {});
  let limit: NodeJS.Timeout | undefined;
  try {
    child.stdin?.write(script);
    if ((await output.line()) !== 'hello') throw noSession(vm);
    limit = setTimeout(() => child.kill('SIGKILL'), scriptTimeoutMs);
    const file = await readFile(vm, output);
    const change = decide(file);
    if (options.mode === 'look') return change;
    const { bytes } = change;
    child.stdin?.end(
      bytes === undefined ? 'keep\n' : Buffer.concat([Buffer.from(`put ${bytes.length}\n`), bytes]),
    );
    const answer = await output.line();
    if (answer === 'changed') return 'changed';
    // If the file did not exist, the script may have ended before it read `keep`.
    if (bytes !== undefined && answer !== 'done') throw remoteFailure(vm, answer);
    return change;
  } finally {
    clearTimeout(limit);
    child.stdin?.destroy();
    await output.end();
  }
}

async function readFile(vm: string, output: RemoteOutput): Promise<RemoteFile> {
  const line = await output.line();
  if (line === 'absent') {
    return { bytes: Buffer.alloc(0), clock: { local: '', utc: '' }, expiry: undefined };
  }
  const [, size, local = '', utc = '', expiry] =
    /^file (\d{1,9}) (\d{14}) (\d{14}) (-|\d{14})$/.exec(line ?? '') ?? [];
  if (size === undefined) throw remoteFailure(vm, line);
  if (Number(size) > longestFile) {
    throw new MintError('key-file', `authorized_keys on ${vm} is larger than 1 MB and was left alone`);
  }
  const bytes = await output.bytes(Number(size));
  if (bytes === undefined) throw remoteFailure(vm, undefined);
  return { bytes, clock: { local, utc }, expiry: expiry === '-' ? undefined : expiry };
}

/** No login succeeded; the messages of ssh say why. */
export class NoSession extends MintError {}

function noSession(vm: string): NoSession {
  return new NoSession('io-failed', `could not open an SSH session to ${vm}`, {
    hint: `see the messages of ssh above, and try a login: mint-ssh ssh ${vm}`,
  });
}
