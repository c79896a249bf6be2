/** The console of a Windows process, even if stdin, stdout and stderr are redirected: the devices CONIN$ and CONOUT$. */
import { closeSync, openSync } from 'node:fs';
import type { ReadStream, WriteStream } from 'node:tty';
import { LineEditor } from './line-editor.ts';
import type { Terminal } from './tty.ts';

/** Device names. Node would resolve a bare `CONOUT$` to a file of that name in the current directory. */
const input = '\\\\.\\CONIN$';
const output = '\\\\.\\CONOUT$';

/** How long to wait for typed-ahead input, in milliseconds. */
const settling = 200;

/**
 * Windows has no foreground and stops no process, so a question can be asked at any time. The console stays in raw mode
 * from open to close, to tell typed-ahead input from an answer; this file edits the line itself.
 */
export class WindowsConsole implements Terminal {
  readonly #input: ReadStream;
  readonly #output: WriteStream;
  readonly #typed: Buffer[] = [];
  #line = new LineEditor();
  #deafUntil = 0;
  #ended = false;

  private constructor(source: ReadStream, sink: WriteStream) {
    this.#input = source;
    this.#output = sink;
    source.on('data', (bytes: Buffer) => {
      if (performance.now() >= this.#deafUntil) this.#typed.push(bytes);
    });
    const end = () => {
      this.#ended = true;
    };
    source.on('end', end).on('error', end);
    sink.on('error', end);
  }

  static open(): WindowsConsole | undefined {
    const streams = openStreams();
    return streams && new WindowsConsole(...streams);
  }

  close(): void {
    this.#input.setRawMode(false);
    this.#input.destroy();
    this.#output.destroy();
  }

  wasStopped(): boolean {
    return false;
  }

  discardInput(): void {
    this.#typed.length = 0;
    this.#line = new LineEditor();
    this.#deafUntil = performance.now() + settling;
  }

  /** Nothing is shown that is not written here. */
  hide(): () => void {
    return () => {};
  }

  readHidden(): Buffer | 'end' | undefined {
    return this.#typed.shift() ?? (this.#ended ? 'end' : undefined);
  }

  write(text: string): void {
    this.#output.write(text);
  }

  isWritten(): boolean {
    return true;
  }

  readLine(): { readonly text: string } | 'end' | undefined {
    for (let bytes = this.readHidden(); bytes !== undefined; bytes = this.readHidden()) {
      if (bytes === 'end') return 'end';
      const { line, shown, rest } = this.#line.type(bytes);
      this.#output.write(shown);
      if (rest.length > 0) this.#typed.unshift(rest);
      if (line !== undefined) return line;
    }
    return undefined;
  }
}

function openStreams(): [ReadStream, WriteStream] | undefined {
  const tty = process.getBuiltinModule('node:tty');
  const opened: number[] = [];
  try {
    for (const device of [input, output]) opened.push(openSync(device, 'r+'));
    const [from = -1, to = -1] = opened;
    const source = new tty.ReadStream(from);
    source.setRawMode(true);
    return [source, new tty.WriteStream(to)];
  } catch {
    // The process has no console, such as a service.
    for (const descriptor of opened) closeSync(descriptor);
    return undefined;
  }
}

/**
 * Opens the console.
 * @throws Error if the process has none
 */
export function writeToConsole(text: string): boolean {
  const { WriteStream } = process.getBuiltinModule('node:tty');
  // A stream writes characters, not bytes in the console's code page.
  const stream = new WriteStream(openSync(output, 'r+'));
  stream.on('error', () => {});
  stream.write(text);
  stream.destroy();
  return true;
}
