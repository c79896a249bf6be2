/**
 * One line of progress on stderr for actions that take longer than a second: updated in place, and removed at the end. It
 * is written only if stderr is a terminal that can erase a line, and never from a background job.
 */
import { writeSync } from 'node:fs';
import { system } from '../platform/system/system.ts';

/** The delay before the line appears. */
const delayMs = 1_000;
const updateMs = 500;
/** The time after which the line also shows the elapsed seconds. */
const showsTimeMs = 3_000;

const eraseLine = '\r\u001b[2K';

let isShown = false;
/** How many questions are on the terminal: meanwhile no line is written over them. */
let pauses = 0;

export interface Progress {
  /** Changes the text. */
  update(text: string): void;
  /** Removes the line. Must be called, also after a failure. */
  end(): void;
}

/**
 * Starts a progress line. It costs two timers until the line appears, because the proxy starts one for each login.
 * @param text what is being done, such as `asking AWS`; foreign text in it must be `printable`
 */
export function startProgress(text: string): Progress {
  const startedAt = performance.now();
  let current = text;
  let hasHandlers = false;
  const tick = () => {
    const elapsedMs = performance.now() - startedAt;
    if (pauses > 0 || elapsedMs < delayMs || !canErase() || !system.isInForeground()) return;
    if (!hasHandlers) process.once('exit', hideProgress).once('SIGINT', interrupted);
    hasHandlers = true;
    const time = elapsedMs < showsTimeMs ? '' : ` (${Math.round(elapsedMs / 1000)} s)`;
    write(current, time);
  };
  const timer = setInterval(tick, updateMs).unref();
  const first = setTimeout(tick, delayMs + 1).unref();
  const end = () => {
    clearInterval(timer);
    clearTimeout(first);
    process.removeListener('SIGINT', interrupted);
    process.removeListener('exit', hideProgress);
    hideProgress();
  };
  const interrupted = () => {
    end();
    process.kill(process.pid, 'SIGINT');
  };
  return {
    update(next) {
      current = next;
      if (isShown) tick();
    },
    end,
  };
}

/** Shows `text` while `action` takes longer than a second. */
export async function withProgress<T>(text: string, action: () => Promise<T>): Promise<T> {
  const progress = startProgress(text);
  try {
    return await action();
  } finally {
    progress.end();
  }
}

/**
 * Erases the line and keeps it hidden while the user is asked, by this process or by one that it started.
 *
 * @returns a function that ends the pause; further calls of it do nothing
 */
export function pauseProgress(): () => void {
  hideProgress();
  pauses += 1;
  let isPaused = true;
  return () => {
    if (isPaused) pauses -= 1;
    isPaused = false;
  };
}

/** Erases the line; called before anything else is written to the terminal. */
export function hideProgress(): void {
  if (!isShown) return;
  isShown = false;
  writeOut(eraseLine);
}

function canErase(): boolean {
  const term = process.env['TERM'] ?? '';
  return term !== '' && term !== 'dumb' && process.getBuiltinModule('node:tty').isatty(2);
}

/** Cuts the text to the width of the terminal, because a line that wraps cannot be erased. */
function write(text: string, time: string): void {
  const columns = Math.max(20, process.stderr.columns || 80);
  const line = `mint-ssh: ${text} …${time}`;
  isShown = true;
  writeOut(`${eraseLine}${line.slice(0, columns - 1)}`);
}

function writeOut(text: string): void {
  try {
    writeSync(2, text);
  } catch {
    // The terminal is gone or its buffer is full. Progress may be lost.
  }
}
