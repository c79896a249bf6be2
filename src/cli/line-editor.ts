/** Edits one line of input, for a terminal in raw mode. */

const keys = {
  interrupt: 3,
  endOfFile: [4, 26],
  erase: [8, 127],
  clear: 21,
  enter: [10, 13],
  escape: 27,
} as const;

/** The longest answer in characters. */
const limit = 1024;

export interface Typed {
  /** The complete line; `end` for Ctrl-C, and for Ctrl-D and Ctrl-Z on an empty line. */
  readonly line: { readonly text: string } | 'end' | undefined;
  /** What to write to the terminal in reply. */
  readonly shown: string;
  /** The bytes that were typed after the line. */
  readonly rest: Buffer;
}

export class LineEditor {
  #text: string[] = [];

  /** @param bytes UTF-8, whole characters, as a terminal in raw mode sends them */
  type(bytes: Buffer): Typed {
    let shown = '';
    const characters = [...bytes.toString('utf8')];
    // Ignore escape sequences (arrows, function keys); the terminal sends each in one piece.
    if (characters[0]?.charCodeAt(0) === keys.escape)
      return { line: undefined, shown, rest: Buffer.alloc(0) };
    for (const [at, character] of characters.entries()) {
      const code = character.codePointAt(0) ?? 0;
      const done = (line: Typed['line']): Typed => {
        this.#text = [];
        const rest = Buffer.from(characters.slice(at + 1).join(''));
        return { line, shown: `${shown}\r\n`, rest };
      };
      if (isOneOf(keys.enter, code)) return done({ text: this.#text.join('') });
      if (code === keys.interrupt) return done('end');
      if (isOneOf(keys.endOfFile, code) && this.#text.length === 0) return done('end');
      if (isOneOf(keys.erase, code)) shown += this.#erase(1);
      else if (code === keys.clear) shown += this.#erase(this.#text.length);
      else if (code >= 0x20 && this.#text.length < limit) {
        this.#text.push(character);
        shown += character;
      }
    }
    return { line: undefined, shown, rest: Buffer.alloc(0) };
  }

  #erase(count: number): string {
    const erased = this.#text.splice(Math.max(0, this.#text.length - count));
    return '\b \b'.repeat(erased.length);
  }
}

function isOneOf(list: readonly number[], code: number): boolean {
  return list.includes(code);
}
