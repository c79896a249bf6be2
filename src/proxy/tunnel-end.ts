/** AWS ends a tunnel after an hour, whatever goes through it: the person hears of it some minutes before. */
import { isatty } from 'node:tty';
import { warn } from '../cli/terminal.ts';

/** How long before the end it is told, in seconds. */
const notice = 5 * 60;
/** Between two looks at the clock, in milliseconds: a timer of an hour would sleep along with a laptop. */
const look = 5000;

/**
 * Tells it once, on the terminal.
 * @param seconds how long the tunnel may last from now on
 * @returns what forgets it
 */
export function announceEnd(vm: string, seconds: number): () => void {
  const until = Date.now() + seconds * 1000;
  const timer = setInterval(() => {
    const left = Math.round((until - Date.now()) / 1000);
    if (left > notice) return;
    clearInterval(timer);
    if (left > 0)
      tell(`the tunnel to ${vm} ends in ${inWords(left)}, as AWS ends every one: connect again then`);
  }, look).unref();
  return () => clearInterval(timer);
}

function inWords(seconds: number): string {
  const minutes = Math.round(seconds / 60);
  if (minutes > 1) return `${minutes} minutes`;
  return minutes === 1 ? 'a minute' : 'a moment';
}

/** In a session ssh has the terminal in raw mode: a line begins at its left edge only where it is told to. */
function tell(line: string): void {
  const isRaw = isatty(2);
  warn(isRaw ? `\r\nmint-ssh: ${line}\r\n` : `mint-ssh: ${line}`);
}
