/**
 * An authorized_keys file: which keys are in it, and the file with one line more, less or renewed. Every
 * other byte stays what it is: blank lines, comments, CRLF, what no parser understands.
 */
import { type Clock, expiryOf, isPast, splitOptions } from './expiry.ts';
import { fingerprintOf, type KeyLine, readKeyLine } from './key-line.ts';

export interface AuthorizedKey extends KeyLine {
  /** The index among the file's lines. */
  readonly index: number;
  readonly fingerprint: string;
  /** `YYYYMMDDHHMMSS` in the VM's own time, with a `Z` where it is UTC. */
  readonly expires: string | undefined;
  /** It has no option but the end of its life, as `key add` writes it. */
  readonly renewable: boolean;
  /** It vouches for certificates (`cert-authority`), and does not let the key itself in. */
  readonly authority: boolean;
}

/** Lines with their ends; the last may have none. Latin-1 keeps every byte. */
function linesOf(file: Buffer): string[] {
  return file.toString('latin1').match(/[^\n]*\n|[^\n]+$/g) ?? [];
}

export function authorizedKeys(file: Buffer): AuthorizedKey[] {
  return linesOf(file).flatMap((text, index) => {
    const line = readKeyLine(text.replace(/\n$/, ''));
    if (line === undefined) return [];
    const { expires, alone } = expiryOf(line.options);
    const comment = Buffer.from(line.comment, 'latin1').toString();
    const authority = splitOptions(line.options).some((option) => option.toLowerCase() === 'cert-authority');
    const fingerprint = fingerprintOf(line);
    return [{ ...line, comment, index, fingerprint, expires, renewable: alone, authority }];
  });
}

export function withKey(file: Buffer, line: string): Buffer {
  const unfinished = file.length > 0 && file.at(-1) !== 0x0a;
  return Buffer.concat([file, Buffer.from(`${unfinished ? '\n' : ''}${line}\n`)]);
}

export function withoutKeys(file: Buffer, keys: readonly AuthorizedKey[]): Buffer {
  const gone = new Set(keys.map(({ index }) => index));
  return Buffer.from(
    linesOf(file)
      .filter((_, index) => !gone.has(index))
      .join(''),
    'latin1',
  );
}

/** Gives those lines other options; the rest of each stays as it is. */
export function withOptions(file: Buffer, keys: readonly AuthorizedKey[], options: string): Buffer {
  const renewed = new Map(keys.map((key) => [key.index, key.options]));
  const lines = linesOf(file).map((line, index) => {
    const old = renewed.get(index);
    // The options are the line's first word, perhaps behind blanks.
    return old === undefined ? line : line.replace(old, () => options);
  });
  return Buffer.from(lines.join(''), 'latin1');
}

export type Addition =
  | { readonly kind: 'added' | 'renewed'; readonly file: Buffer }
  /** It is there, and stays as it is; `key` is the line that counts. */
  | { readonly kind: 'present' | 'expired' | 'bound'; readonly key: AuthorizedKey };

/**
 * What adding a key comes to. A key that is there already, whatever its comment and options, is not added
 * again. Its life is renewed where an expiry is asked for and its lines have no option but one: a line with
 * other options, or without an end, was meant to be so (`bound`), and a life that ends would be a promise broken.
 *
 * @param line the key and its comment, without options
 * @param expiry what `expiry-time` is to say
 */
export function addKey(
  file: Buffer,
  { blob, line }: { readonly blob: Buffer; readonly line: string },
  { clock, expiry }: { readonly clock: Clock; readonly expiry: string | undefined },
): Addition {
  const options = expiry === undefined ? '' : `expiry-time="${expiry}"`;
  const present = authorizedKeys(file).filter((key) => key.blob.equals(blob) && !key.authority);
  const [first] = present;
  if (first === undefined)
    return { kind: 'added', file: withKey(file, options === '' ? line : `${options} ${line}`) };
  if (expiry !== undefined) {
    const bound = present.find((key) => !key.renewable);
    if (bound !== undefined) return { kind: 'bound', key: bound };
    return { kind: 'renewed', file: withOptions(file, present, options) };
  }
  const alive = present.find((key) => !isPast(key.expires, clock));
  return alive === undefined ? { kind: 'expired', key: first } : { kind: 'present', key: alive };
}
