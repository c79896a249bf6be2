/** The one place that asks for a passphrase: on the terminal without an echo, else through SSH_ASKPASS. */
import { askpassUse, askSecretThroughProgram } from './askpass.ts';
import { inForeground } from './foreground.ts';
import { openTerminal } from './open-terminal.ts';
import { printable } from './terminal.ts';

/**
 * `no`: the person gave up. `timeout`: nobody answered in time, or the question was withdrawn. `nobody`: there is no
 * one to ask on any channel.
 */
export type Secret = { readonly text: string } | 'no' | 'timeout' | 'nobody';

export interface SecretLimits {
  /** How long the question stands; for ever unless told. */
  readonly seconds?: number;
  /** Withdraws the question. */
  readonly signal?: AbortSignal;
}

/** Milliseconds; looking at the foreground costs a process where there is no /proc. */
const pollInterval = process.platform === 'linux' ? 50 : 250;

/** Bytes; what ssh takes for a passphrase is no longer. */
const limit = 1023;

/** What the keys mean while the terminal leaves the editing to us. */
const keys = { interrupt: 3, end: 4, erase: [8, 127], clear: 21, enter: [10, 13] } as const;

/**
 * Asks for a secret; it is never taken from stdin. The channel is chosen as for every other question. `prompt` is one
 * line with its last blank.
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
    if (answer !== 'nobody' || use === 'never') return answer;
  }
  return askSecretThroughProgram(plain, environment, { deadline, signal });
}

async function askHidden(prompt: string, isOver: () => boolean): Promise<Secret> {
  if (!inForeground()) return 'nobody';
  const terminal = openTerminal();
  if (terminal === undefined) return 'nobody';
  let reveal: (() => void) | undefined;
  let typed: number[] = [];
  try {
    for (; ; await new Promise((resolve) => setTimeout(resolve, pollInterval))) {
      if (isOver()) {
        // What was typed so far must not end up in the shell's next line.
        if (reveal !== undefined && inForeground()) {
          terminal.discardInput();
          terminal.write('\n');
        }
        return 'timeout';
      }
      // In the background, and right behind a stop, the terminal is the shell's.
      if (!inForeground()) continue;
      if (terminal.wasStopped()) {
        reveal?.();
        reveal = undefined;
        continue;
      }
      if (reveal === undefined) {
        typed = [];
        terminal.discardInput();
        reveal = terminal.hide();
        // A passphrase that everyone could read is not asked for.
        if (reveal === undefined) return 'nobody';
        terminal.write(`\r${prompt}`);
      }
      if (!terminal.isWritten()) continue;
      const bytes = terminal.readHidden();
      const outcome = bytes === 'end' ? 'no' : edit(typed, bytes ?? Buffer.alloc(0));
      if (outcome === 'more') continue;
      terminal.write('\n');
      return outcome === 'done' ? { text: Buffer.from(typed).toString() } : 'no';
    }
  } finally {
    reveal?.();
    terminal.close();
  }
}

/** Does to the line what the terminal would have done. */
function edit(line: number[], bytes: Buffer): 'more' | 'done' | 'no' {
  for (const byte of bytes) {
    if (isOneOf(keys.enter, byte)) return 'done';
    if (byte === keys.interrupt || (byte === keys.end && line.length === 0)) return 'no';
    if (byte === keys.clear) line.length = 0;
    else if (isOneOf(keys.erase, byte)) eraseCharacter(line);
    else if (byte >= 0x20 || byte === 9) line.push(byte);
    if (line.length > limit) return 'no';
  }
  return 'more';
}

/** A character of UTF-8 is its first byte and all that continue it. */
function eraseCharacter(line: number[]): void {
  for (let byte = line.pop(); byte !== undefined && (byte & 0xc0) === 0x80; byte = line.pop());
}

function isOneOf(list: readonly number[], byte: number): boolean {
  return list.includes(byte);
}
