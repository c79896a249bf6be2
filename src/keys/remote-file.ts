/** `~/.ssh/authorized_keys` on a VM: read, and replaced in one step, through a session of ssh. */
import type { ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { MintError } from '../errors.ts';
import type { Clock } from './expiry.ts';
import { remoteFailure } from './remote-failure.ts';
import { RemoteOutput } from './remote-output.ts';
import { remoteCommand, type ScriptOptions } from './remote-script.ts';

export interface RemoteFile {
  /** Empty where there is no such file. */
  readonly bytes: Buffer;
  readonly clock: Clock;
  /** When a key ends that is to live for `seconds` from now, in the VM's own time. */
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
/** From the script's first word to its last: it waits up to 30 s for others that change the same file. */
const scriptMilliseconds = 60_000;
const attempts = 5;

/**
 * Reads the file, and has `decide` say what it is to become. While it does, no other `key` command changes it
 * (unless the mode is `look`); where another program did, everything is done again. The new file has the
 * owner and mode of the old one, and is whole or not there.
 *
 * @throws MintError `io-failed`, `key-file`, and what `decide` throws
 */
export async function changeRemoteFile<T>(
  connect: Connect,
  options: RemoteOptions,
  decide: (file: RemoteFile) => Change<T>,
): Promise<T> {
  for (let attempt = 1; attempt <= attempts; attempt += 1) {
    const outcome = await changeOnce(connect, options, decide);
    if (outcome !== 'changed') return outcome.result;
  }
  throw new MintError('io-failed', `authorized_keys on ${options.vm} changes all the time`, {
    hint: 'something else writes to it: try again when that is done',
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
  // A session that ends early is known by what it did not say.
  child.stdin?.on('error', () => {});
  let limit: NodeJS.Timeout | undefined;
  try {
    child.stdin?.write(script);
    if ((await output.line()) !== 'hello') throw noSession(vm);
    limit = setTimeout(() => child.kill('SIGKILL'), scriptMilliseconds);
    const file = await readFile(vm, output);
    const change = decide(file);
    if (options.mode === 'look') return change;
    const { bytes } = change;
    child.stdin?.end(
      bytes === undefined ? 'keep\n' : Buffer.concat([Buffer.from(`put ${bytes.length}\n`), bytes]),
    );
    const answer = await output.line();
    if (answer === 'changed') return 'changed';
    // Where the file was not there, the script may have ended before it was told to keep it.
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

function noSession(vm: string): MintError {
  return new MintError('io-failed', `no session on ${vm} came about`, {
    hint: `what ssh said stands above; \`mint-ssh ssh ${vm}\` shows whether a login works`,
  });
}
