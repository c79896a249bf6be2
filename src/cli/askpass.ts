/** Asks through the program in SSH_ASKPASS, such as a dialog of the desktop or of an editor. */
import type { ChildProcess } from 'node:child_process';
import { type Answer, askedAgain, judge, plainLines, type Question } from './answer.ts';

/** A longer answer, in bytes, is ignored: an answer is one of a few words. */
const answerLimit = 1024;

/** The default program of Debian desktops, for use when SSH_ASKPASS is not set. It does not exist elsewhere. */
const usualProgram = '/usr/bin/ssh-askpass';

/** `first`: use the program instead of the terminal; `last`: only without a terminal. Rules: OpenSSH's readpass.c. */
export function askpassUse(environment: NodeJS.ProcessEnv): 'first' | 'last' | 'never' {
  const display = environment['DISPLAY'] || environment['WAYLAND_DISPLAY'];
  switch (environment['SSH_ASKPASS_REQUIRE']?.toLowerCase()) {
    case 'force':
      return 'first';
    case 'prefer':
      return display ? 'first' : 'never';
    case 'never':
      return 'never';
    default:
      return display ? 'last' : 'never';
  }
}

/**
 * Asks with SSH_ASKPASS_PROMPT=confirm, so that programs which know it show buttons and no password field.
 *
 * ssh-agent takes status 0 without text for a yes. This function does not: scripts silence ssh with
 * `SSH_ASKPASS=/bin/true`, and editors answer so when their dialog is dismissed. After such an answer it asks once more
 * without the hint, as ssh asks about host keys; then the program has to print the word.
 */
export async function askThroughProgram(question: Question, environment: NodeJS.ProcessEnv): Promise<Answer> {
  const program = environment['SSH_ASKPASS'] ?? usualProgram;
  if (program === '') return 'cannot-ask';
  const { accepts, prompt, seconds, signal } = question;
  const { SSH_ASKPASS_PROMPT: _, ...withoutHint } = environment;
  const withHint = { ...withoutHint, SSH_ASKPASS_PROMPT: 'confirm' };
  const deadline = performance.now() + seconds * 1000;
  const lines = plainLines(question);

  const first = await run(program, [...lines, prompt].join('\n'), withHint, { deadline, signal });
  if (typeof first === 'string') return first;
  if (first.text.trim() !== '') return judge(first.text, accepts) ?? 'no';
  const again = [...lines, askedAgain(accepts).replace(/: $/, '.'), prompt].join('\n');
  const second = await run(program, again, withoutHint, { deadline, signal });
  if (typeof second === 'string') return second;
  return judge(second.text, accepts) ?? 'no';
}

/**
 * Asks for a passphrase, as ssh does: no hint, and what counts is the text up to the end of its first line.
 * @returns `no` if the program failed or printed nothing
 */
export async function askSecretThroughProgram(
  prompt: string,
  environment: NodeJS.ProcessEnv,
  limits: Limits,
): Promise<{ readonly text: string } | 'no' | 'timeout' | 'cannot-ask'> {
  const program = environment['SSH_ASKPASS'] ?? usualProgram;
  if (program === '') return 'cannot-ask';
  const { SSH_ASKPASS_PROMPT: _, ...env } = environment;
  const answer = await run(program, prompt, env, limits);
  if (typeof answer === 'string') return answer === 'yes' ? 'no' : answer;
  const [text = ''] = answer.text.split(/[\r\n]/, 1);
  return text === '' ? 'no' : { text };
}

interface Limits {
  readonly deadline: number;
  readonly signal: AbortSignal | undefined;
}

/**
 * Runs the program.
 * @returns its output if it exited with 0, else the outcome: `no`, `timeout` or `cannot-ask`
 */
function run(
  program: string,
  text: string,
  env: NodeJS.ProcessEnv,
  { deadline, signal }: Limits,
): Promise<Answer | { readonly text: string }> {
  const left = deadline - performance.now();
  if (left <= 0 || signal?.aborted) return Promise.resolve('timeout');
  const child = start(program, text, env);
  if (child === undefined) return Promise.resolve('cannot-ask');
  return new Promise((resolve) => {
    let written = Buffer.alloc(0);
    const settle = (outcome: Answer | { readonly text: string }) => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', giveUp);
      // Children of the program are not waited for: their next write finds the pipe closed.
      child.stdout?.destroy();
      child.kill();
      child.unref();
      resolve(outcome);
    };
    const giveUp = () => settle('timeout');
    const timer = Number.isFinite(left) ? setTimeout(giveUp, left) : undefined;
    signal?.addEventListener('abort', giveUp);
    child.stdout?.on('data', (bytes: Buffer) => {
      written = Buffer.concat([written, bytes]);
      if (written.length > answerLimit) settle('no');
    });
    child.once('error', () => settle('cannot-ask'));
    child.once('close', (status) => settle(status === 0 ? { text: written.toString() } : 'no'));
  });
}

/** Without a shell; looked up in PATH as execlp does. */
function start(program: string, text: string, env: NodeJS.ProcessEnv): ChildProcess | undefined {
  // Loaded only here: every connection starts mint-ssh, and few connections ask a question.
  const { spawn } = process.getBuiltinModule('node:child_process');
  try {
    return spawn(program, [text], { env, stdio: ['ignore', 'pipe', 'ignore'], windowsHide: true });
  } catch {
    return undefined;
  }
}
