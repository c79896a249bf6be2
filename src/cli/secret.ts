/** Asks for a passphrase: on the terminal without echo, else through SSH_ASKPASS. All secrets go through this file. */
import { Interrupted } from '../errors.ts';
import { system } from '../platform/system/system.ts';
import { askpassUse, askSecretThroughProgram } from './askpass.ts';
import { openTerminal } from './open-terminal.ts';
import { pauseProgress } from './progress.ts';
import { printable } from './terminal.ts';

/**
 * `no`: the user gave up. `timeout`: the user did not answer in time, or the question was withdrawn. `cannot-ask`: the user
 * cannot be asked: no terminal and no SSH_ASKPASS program.
 */
export type Secret = { readonly text: string } | 'no' | 'timeout' | 'cannot-ask';

export interface SecretLimits {
  /** How long to wait for an answer; no limit by default. */
  readonly seconds?: number;
  /** Withdraws the question. */
  readonly signal?: AbortSignal;
}

/** The longest passphrase in bytes: the same limit as ssh's. */
const limit = 1023;

/** The control characters for editing while the terminal is in raw mode. */
const keys = { interrupt: 3, end: 4, erase: [8, 127], clear: 21, enter: [10, 13] } as const;

/**
 * Asks for a secret; it is never taken from stdin. The channel is chosen as for every other question. `prompt` is one
 * line with its last blank.
 *
 * @throws Interrupted on Ctrl-C, after SIGINT went to every process in the foreground of the terminal
 */
export async function askSecret(
  prompt: string,
  environment = process.env,
  { seconds = Number.POSITIVE_INFINITY, signal }: SecretLimits = {},
): Promise<Secret> {
  const plain = printable(prompt);
  const use = askpassUse(environment);
  const deadline = performance.now() + seconds * 1000;
  if (use !== 'first') {
    const answer = await askHidden(plain, () => performance.now() >= deadline || signal?.aborted === true);
    if (answer !== 'cannot-ask' || use === 'never') return answer;
  }
  return askSecretThroughProgram(plain, environment, { deadline, signal });
}

async function askHidden(prompt: string, isOver: () => boolean): Promise<Secret> {
  if (!system.isInForeground()) return 'cannot-ask';
  const terminal = openTerminal();
  if (terminal === undefined) return 'cannot-ask';
  const resume = pauseProgress();
  let reveal: (() => void) | undefined;
  let typed: number[] = [];
  try {
    for (; ; await new Promise((resolve) => setTimeout(resolve, system.terminalPollMs))) {
      if (isOver()) {
        // Discard what was typed, so that it does not end up in the shell's next line.
        if (reveal !== undefined && system.isInForeground()) {
          terminal.discardInput();
          terminal.write('\n');
        }
        return 'timeout';
      }
      // In the background, and right after a stop, the terminal belongs to the shell.
      if (!system.isInForeground()) continue;
      if (terminal.wasStopped()) {
        reveal?.();
        reveal = undefined;
        continue;
      }
      if (reveal === undefined) {
        typed = [];
        terminal.discardInput();
        reveal = terminal.hide();
        // Do not ask for a passphrase that would be echoed.
        if (reveal === undefined) return 'cannot-ask';
        terminal.write(`\r${prompt}`);
        // Read at the next poll: Ctrl-Z right after the prompt would stop this process between the check and the read.
        continue;
      }
      if (!terminal.isWritten()) continue;
      const bytes = terminal.readHidden();
      const outcome = bytes === 'end' ? 'no' : edit(typed, bytes ?? Buffer.alloc(0));
      if (outcome === 'more') continue;
      terminal.write('\n');
      if (outcome === 'interrupted') {
        reveal();
        reveal = undefined;
        system.interruptForeground();
        throw new Interrupted();
      }
      return outcome === 'done' ? { text: Buffer.from(typed).toString() } : 'no';
    }
  } finally {
    resume();
    reveal?.();
    terminal.close();
  }
}

/** Applies one typed byte to the line, as the terminal's own line editing would. */
function edit(line: number[], bytes: Buffer): 'more' | 'done' | 'no' | 'interrupted' {
  for (const byte of bytes) {
    if (isOneOf(keys.enter, byte)) return 'done';
    if (byte === keys.interrupt) return 'interrupted';
    if (byte === keys.end && line.length === 0) return 'no';
    if (byte === keys.clear) line.length = 0;
    else if (isOneOf(keys.erase, byte)) eraseCharacter(line);
    else if (byte >= 0x20 || byte === 9) line.push(byte);
    if (line.length > limit) return 'no';
  }
  return 'more';
}

/** Removes the last UTF-8 character: its continuation bytes and its first byte. */
function eraseCharacter(line: number[]): void {
  for (let byte = line.pop(); byte !== undefined && (byte & 0xc0) === 0x80; byte = line.pop());
}

function isOneOf(list: readonly number[], byte: number): boolean {
  return list.includes(byte);
}
