/** Runs a credential_process on the user's terminal, and shows the user what it prints on stderr. */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { printable, warn } from '../cli/terminal.ts';
import { system } from '../platform/system/system.ts';

/** The maximum output in bytes; credentials are shorter. */
const maxOutputBytes = 64 * 1024;
/** How much of the end of its stderr is kept. */
const maxErrorCharacters = 4_000;
/** After this time its stderr is shown as it arrives. Most processes end earlier. */
const showAfterMs = 1_000;
/** A prompt without a newline at its end is shown after this pause. */
const partialLineMs = 200;

/** The SDK passes on only the message, so that includes the output of the process; errors.ts parses it. */
function processFailure(how: string, words: string): Error {
  return new Error(`credential_process ${how}\n${words}`);
}

type Finished = (error: Error | null, output?: { readonly stdout: string }) => void;

/**
 * Replaces `child_process.exec`, which the SDK runs a credential_process with. The process gets the terminal as
 * its stdin, as under the AWS CLI; stdin of this program may be the SSH stream.
 */
export function runCredentialProcess(environment: NodeJS.ProcessEnv) {
  return (command: string, finished: Finished): void => {
    const input = terminalInput();
    let child: ChildProcess;
    try {
      child = spawn(command, {
        shell: true,
        env: environment,
        stdio: [input ?? 'ignore', 'pipe', 'pipe'],
        windowsHide: true,
      });
    } finally {
      if (input !== undefined) closeSync(input);
    }
    const output: Buffer[] = [];
    let bytes = 0;
    child.stdout?.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > maxOutputBytes) child.kill();
      else output.push(chunk);
    });
    const stderr = showStderr(child);
    child.once('error', (error) => {
      stderr.end();
      finished(processFailure(`could not be started: ${error.message}`, ''));
    });
    child.once('close', (status, signal) => {
      const words = stderr.end();
      if (bytes > maxOutputBytes) finished(processFailure('printed too much', words));
      else if (status === 0) finished(null, { stdout: Buffer.concat(output).toString('utf8') });
      else
        finished(
          processFailure(
            signal === null ? `failed with exit status ${status}` : `was ended by ${signal}`,
            words,
          ),
        );
    });
  };
}

/** The terminal, for reading; undefined without one, or if another job uses it. */
function terminalInput(): number | undefined {
  const { terminal } = system;
  if (terminal === undefined || !system.isInForeground()) return undefined;
  try {
    return openSync(terminal, 'r');
  } catch {
    return undefined;
  }
}

/** Shows the output of the process to the user, line by line and escaped. */
function showStderr(child: ChildProcess): { readonly end: () => string } {
  let all = '';
  let unshown = '';
  let isShown = false;
  let partial: NodeJS.Timeout | undefined;
  const show = () => {
    if (unshown === '') return;
    for (const line of unshown.replace(/\r?\n$/, '').split(/\r?\n/)) warn(printable(line));
    unshown = '';
  };
  const begin = setTimeout(() => {
    isShown = true;
    show();
  }, showAfterMs);
  child.stderr?.setEncoding('utf8');
  child.stderr?.on('data', (text: string) => {
    all = (all + text).slice(-maxErrorCharacters);
    unshown = (unshown + text).slice(-maxErrorCharacters);
    if (!isShown) return;
    clearTimeout(partial);
    if (unshown.endsWith('\n')) show();
    else partial = setTimeout(show, partialLineMs);
  });
  return {
    end() {
      clearTimeout(begin);
      clearTimeout(partial);
      if (isShown) show();
      return all;
    },
  };
}
