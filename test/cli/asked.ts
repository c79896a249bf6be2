/** Starts the program that asks, on a pseudo-terminal or without one. */
import { fileURLToPath } from 'node:url';
import { type Child, startChild } from '../openssh/child.ts';

const program = pathOf('ask.ts');

export function pathOf(name: string): string {
  return fileURLToPath(new URL(`programs/${name}`, import.meta.url));
}

export const prompt = 'Are you sure you want to continue connecting (yes/no/[fingerprint])? ';

const environment = { PATH: process.env['PATH'], SHELL: '/bin/sh', TERM: 'dumb', PS1: '$ ' };

type Options = { readonly env?: Readonly<Record<string, string>>; readonly question?: object };

/** The command line that asks, for a shell. */
export function askCommand(question: object = {}): string {
  return `'${process.execPath}' '${program}' '${JSON.stringify(question)}'`;
}

/** A command on a new terminal; data for `stdin` is typed there. */
export function onTerminal(command: string, env: Readonly<Record<string, string>> = {}): Child {
  const words = ['-qefc', command, '/dev/null'];
  return startChild('script', words, { ...environment, ...env }, { holdInput: true, timeout: 60_000 });
}

/** The question in the foreground of a terminal. */
export function askOnTerminal({ env = {}, question = {} }: Options = {}): Child {
  return onTerminal(`exec ${askCommand(question)}`, env);
}

/** The question without a terminal, in a new session. */
export function askWithout({ env = {}, question = {} }: Options = {}): Child {
  const words = [program, JSON.stringify(question)];
  return startChild(process.execPath, words, { ...environment, ...env }, { timeout: 60_000 });
}

/** The answer, once the program has ended. */
export async function answerOf(child: Child): Promise<string> {
  const { stdout, stderr } = await child.done;
  return /\[answer: ([\w-]+)\]\r?\n$/.exec(stdout)?.[1] ?? `none: ${stdout}${stderr}`;
}
