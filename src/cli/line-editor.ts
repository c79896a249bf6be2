/** The editing of one line, for a terminal that leaves it to us. */

const keys = {
  interrupt: 3,
  endOfFile: [4, 26],
  erase: [8, 127],
  clear: 21,
  enter: [10, 13],
  escape: 27,
} as const;

/** No answer is longer, in characters. */
const limit = 1024;

export interface Typed {
  /** The line once it is whole; `end` for Ctrl-C, and for Ctrl-D and Ctrl-Z where nothing was typed. */
  readonly line: { readonly text: string } | 'end' | undefined;
  /** What the terminal has to show for it. */
  readonly shown: string;
  /** What was typed behind the line. */
  readonly rest: Buffer;
}

export class LineEditor {
  #text: string[] = [];

  /** @param bytes UTF-8, whole characters, as a terminal in raw mode sends them */
  type(bytes: Buffer): Typed {
    let shown = '';
    const characters = [...bytes.toString('utf8')];
    // An arrow, a function key: the terminal sends each as one piece.
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
