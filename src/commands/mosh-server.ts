/** mosh-server on the VM: the command line that starts it, and its answer. */
import type { Readable } from 'node:stream';
import { remoteWords } from '../ssh-config/remote-command.ts';

export type MoshAnswer =
  | {
      readonly kind: 'ready';
      readonly port: number /** 22 base64 characters, a secret. */;
      readonly key: string;
    }
  /** mosh-server is not installed on the VM. */
  | { readonly kind: 'missing' }
  /** mosh-server did not start. `said`: its message, foreign text of at most 200 characters. */
  | { readonly kind: 'failed'; readonly said: string };

export interface MoshServerOptions {
  readonly colours: number;
  /** The command to run instead of the shell; empty for the shell. */
  readonly command: readonly string[];
  /** The caller's locale variables, for a VM without a UTF-8 locale of its own. */
  readonly environment: NodeJS.ProcessEnv;
}

/** The maximum output before the answer in bytes, such as that of a shell's start-up files. */
const outputLimit = 64 * 1024;
const saidLimit = 200;
const absent = 'MINT-SSH FINDS NO MOSH-SERVER';
const localeForm = /^(?:LANG|LANGUAGE|LC_[A-Z]+)$/;
const valueForm = /^[\w.@:-]{1,64}$/;

/**
 * One word for ssh, in one line that every login shell reads alike. `-s` binds the server to the address at which
 * this connection reached the VM.
 */
export function moshServerCommand({ colours, command, environment }: MoshServerOptions): string {
  const script = `exec 2>&1; command -v mosh-server >/dev/null || { echo ${absent}; exit 127; }; exec mosh-server "$@"`;
  const locale = Object.entries(environment).flatMap(([name, value = '']) =>
    localeForm.test(name) && valueForm.test(value) ? ['-l', `${name}=${value}`] : [],
  );
  const words = ['new', '-s', '-c', String(colours), ...locale];
  const behind = command.length === 0 ? [] : ['--', ...command];
  return remoteWords(['sh', '-c', script, 'mosh-server', ...words, ...behind]);
}

/**
 * Resolves when the server has printed where it listens, or has ended. Later output is read and discarded. The line must
 * match mosh-server's format as a whole, with a valid port; a partial match is a failure.
 */
export function readMoshServer(output: Readable): Promise<MoshAnswer> {
  return new Promise((resolve) => {
    let text: string | undefined = '';
    const settle = (answer: MoshAnswer) => {
      text = undefined;
      resolve(answer);
    };
    output.on('data', (chunk: Buffer) => {
      if (text === undefined) return;
      text += chunk.toString('latin1');
      const answer = parseMoshServer(text.slice(0, text.lastIndexOf('\n') + 1));
      if (answer !== undefined) settle(answer);
      else if (text.length > outputLimit) settle({ kind: 'failed', said: lastWords(text) });
    });
    const end = () => {
      if (text !== undefined) settle(parseMoshServer(text) ?? { kind: 'failed', said: lastWords(text) });
    };
    output.on('end', end).on('close', end).on('error', end);
  });
}

/** @returns undefined while the complete lines do not contain the answer */
export function parseMoshServer(lines: string): MoshAnswer | undefined {
  const line = lines.split(/\r?\n/).find((each) => each === absent || each.startsWith('MOSH CONNECT'));
  if (line === undefined) return undefined;
  if (line === absent) return { kind: 'missing' };
  const [, port = '', key = ''] = /^MOSH CONNECT (\d{1,5}) ([A-Za-z0-9/+]{22})$/.exec(line) ?? [];
  if (key === '' || Number(port) < 1 || Number(port) > 65_535)
    return { kind: 'failed', said: 'MOSH CONNECT …' };
  return { kind: 'ready', port: Number(port), key };
}

/** Its first sentence, if there is one; after that it lists its environment. */
function lastWords(text: string): string {
  const lines = text.trimEnd().split(/\r?\n/);
  const line = lines.find((each) => each.includes('mosh-server')) ?? lines.at(-1) ?? '';
  return line.trim().slice(0, saidLimit);
}
