/**
 * Asks on the terminal itself, because stdin and stdout carry the SSH stream and stderr may be /dev/null.
 *
 * The terminal is polled. A blocking read would hold a thread of the pool for ever. A stream reads when bytes arrive; if
 * the process is in the background by then, the terminal stops it, and ssh, with SIGTTIN. So the process checks before
 * every read that it is in the foreground.
 */
import { system } from '../platform/system/system.ts';
import { type Answer, askedAgain, judge, plainLines, type Question } from './answer.ts';
import { hasColour, paintFrame } from './colour.ts';
import { openTerminal } from './open-terminal.ts';
import { pauseProgress } from './progress.ts';
import type { Terminal } from './tty.ts';

/**
 * Asks on the controlling terminal. Ignores what was typed before the question was shown.
 *
 * @returns `cannot-ask` without a terminal, and in a background job
 */
export async function askOnTerminal(question: Question, environment = process.env): Promise<Answer> {
  if (!system.isInForeground()) return 'cannot-ask';
  const terminal = openTerminal();
  if (terminal === undefined) return 'cannot-ask';
  const resume = pauseProgress();
  try {
    return await converse(terminal, question, environment);
  } finally {
    resume();
    terminal.close();
  }
}

async function converse(
  terminal: Terminal,
  question: Question,
  environment: NodeJS.ProcessEnv,
): Promise<Answer> {
  const { prompt, accepts, seconds, signal, attempts = 3 } = question;
  const plain = plainLines(question);
  const lines = hasColour(environment) ? paintFrame(plain) : plain;
  const whole = `\r${[...lines, prompt].join('\n')}`;
  const deadline = performance.now() + seconds * 1000;
  let shown = false;
  let garbage = 0;
  for (; ; await pause()) {
    // Check the time first: a line typed into a stopped job does not count after the time limit.
    const over = performance.now() >= deadline || signal?.aborted === true;
    if (!system.isInForeground()) {
      if (over) return 'timeout';
      shown = false;
      continue;
    }
    if (over) {
      // Discard a partial answer, so that it does not end up in the shell's next line.
      terminal.discardInput();
      terminal.write('\n');
      return 'timeout';
    }
    if (terminal.wasStopped()) {
      // Show the question again at the next poll: the shell may still be writing to the terminal.
      shown = false;
      continue;
    }
    if (!shown) {
      terminal.discardInput();
      terminal.write(whole);
      shown = true;
      // Read at the next poll: Ctrl-Z right after the question would stop this process between the check and the read.
      continue;
    }
    if (!terminal.isWritten()) continue;
    const line = terminal.readLine();
    if (line === undefined) continue;
    if (line === 'end') {
      terminal.write('\n');
      return 'no';
    }
    const verdict = judge(line.text, accepts);
    if (verdict !== undefined) return verdict;
    if (++garbage >= attempts) return 'no';
    terminal.write(askedAgain(accepts));
  }
}

function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, system.terminalPollMs));
}
