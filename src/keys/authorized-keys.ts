/**
 * Parses and edits the text of an authorized_keys file: adds, removes or renews one key. Every other byte is kept: blank
 * lines, comments, CRLF, and lines that cannot be parsed.
 */
import { splitLines } from '../platform/files.ts';
import { type Clock, expiryOf, isPast, splitOptions } from './expiry.ts';
import { fingerprintOf, type KeyLine, readKeyLine } from './key-line.ts';

export interface AuthorizedKey extends KeyLine {
  /** The index of the line in the file, from 0. */
  readonly index: number;
  readonly fingerprint: string;
  /** `YYYYMMDDHHMMSS` in the VM's own time, with a `Z` where it is UTC. */
  readonly expires: string | undefined;
  /** Whether its only option is `expiry-time`, as `key add` writes it. */
  readonly renewable: boolean;
  /** Whether the line has `cert-authority`: it accepts certificates signed by the key, but not the key itself. */
  readonly authority: boolean;
}

/** @returns the lines that have a key, in order; comments, blank and invalid lines are left out */
export function authorizedKeys(file: Buffer): AuthorizedKey[] {
  return splitLines(file.toString('latin1')).flatMap((text, index) => {
    const line = readKeyLine(text.replace(/\n$/, ''));
    if (line === undefined) return [];
    const { expires, alone } = expiryOf(line.options);
    const comment = Buffer.from(line.comment, 'latin1').toString();
    const authority = splitOptions(line.options).some((option) => option.toLowerCase() === 'cert-authority');
    const fingerprint = fingerprintOf(line);
    return [{ ...line, comment, index, fingerprint, expires, renewable: alone, authority }];
  });
}

/** @returns the file with the line added at its end */
export function withKey(file: Buffer, line: string): Buffer {
  const unfinished = file.length > 0 && file.at(-1) !== 0x0a;
  return Buffer.concat([file, Buffer.from(`${unfinished ? '\n' : ''}${line}\n`)]);
}

/** @returns the file without these lines; every other byte is kept */
export function withoutKeys(file: Buffer, keys: readonly AuthorizedKey[]): Buffer {
  const gone = new Set(keys.map(({ index }) => index));
  return Buffer.from(
    splitLines(file.toString('latin1'))
      .filter((_, index) => !gone.has(index))
      .join(''),
    'latin1',
  );
}

/** Replaces the options of those lines and keeps the rest of each. */
export function withOptions(file: Buffer, keys: readonly AuthorizedKey[], options: string): Buffer {
  const renewed = new Map(keys.map((key) => [key.index, key.options]));
  const lines = splitLines(file.toString('latin1')).map((line, index) => {
    const old = renewed.get(index);
    // The options are the first word of the line, after optional blanks.
    return old === undefined ? line : line.replace(old, () => options);
  });
  return Buffer.from(lines.join(''), 'latin1');
}

export type Addition =
  | { readonly kind: 'added' | 'renewed'; readonly file: Buffer }
  /** The key is in the file already and is left as it is; `key` is the line that sshd uses. */
  | { readonly kind: 'present' | 'expired' | 'bound'; readonly key: AuthorizedKey };

/**
 * Adds a key. A key that is in the file already is not added again, even if its comment or options differ. If an expiry is
 * given and its lines have no option but `expiry-time`, the expiry is renewed. A line with other options, or without an
 * expiry, was made so on purpose and is left as it is (`bound`).
 *
 * @param line the key and its comment, without options
 * @param expiry the value for `expiry-time`
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
