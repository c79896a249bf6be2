/** One line of an authorized_keys file, or of a public key file: sshd(8), AUTHORIZED_KEYS FILE FORMAT. */
import { createHash } from 'node:crypto';
import { isCertificate, keyOfCertificate } from './certificate.ts';

export interface KeyLine {
  /** The options before the key, unparsed; empty if there are none. */
  readonly options: string;
  readonly type: string;
  /** The base64 of the key, as written in the line. */
  readonly base64: string;
  readonly blob: Buffer;
  /** The comment, trimmed. */
  readonly comment: string;
}

/**
 * Parses a line as sshd does: a key, or options and then a key. The line may end with the CR of a CRLF.
 *
 * @returns undefined for a blank line, a comment, and a damaged line
 */
export function readKeyLine(line: string): KeyLine | undefined {
  const text = line.replace(/^[ \t]+/, '');
  if (text === '' || text.startsWith('#')) return undefined;
  const bare = readKey(text);
  if (bare !== undefined) return { options: '', ...bare };
  const end = endOutsideQuotes(text, ' \t');
  const behind = readKey(text.slice(end).replace(/^[ \t]+/, ''));
  return behind && { options: text.slice(0, end), ...behind };
}

function readKey(text: string): Omit<KeyLine, 'options'> | undefined {
  const [, type = '', base64 = '', comment = ''] = /^([^ \t]+)[ \t]+([^ \t\r]+)(.*)$/s.exec(text) ?? [];
  if (!/^[A-Za-z0-9+/]+=*$/.test(base64)) return undefined;
  const blob = Buffer.from(base64, 'base64');
  return innerType(blob) === type ? { type, base64, blob, comment: comment.trim() } : undefined;
}

/** The name that a key's own bytes begin with (RFC 4253 §6.6). */
function innerType(blob: Buffer): string | undefined {
  if (blob.length < 4) return undefined;
  const length = blob.readUInt32BE(0);
  return length > blob.length - 4 ? undefined : blob.toString('latin1', 4, 4 + length);
}

/** The index of the first of `stops` outside quotes, or the end. A quote after a backslash does not count. */
export function endOutsideQuotes(text: string, stops: string, start = 0): number {
  let quoted = false;
  for (let at = start; at < text.length; at += 1) {
    const character = text.charAt(at);
    if (character === '\\' && text[at + 1] === '"') at += 1;
    else if (character === '"') quoted = !quoted;
    else if (!quoted && stops.includes(character)) return at;
  }
  return text.length;
}

/** The fingerprint that `ssh-keygen -l` shows; for a certificate, the one of the key inside. */
export function fingerprintOf({ type, blob }: Pick<KeyLine, 'type' | 'blob'>): string {
  const plain = isCertificate(type) ? wholeKey({ type, blob }) : blob;
  return `SHA256:${createHash('sha256').update(plain).digest('base64').replace(/=+$/, '')}`;
}

function wholeKey(line: Pick<KeyLine, 'type' | 'blob'>): Buffer {
  try {
    return keyOfCertificate(line)?.blob ?? line.blob;
  } catch {
    // A damaged certificate in the user's file: show the fingerprint of its own bytes.
    return line.blob;
  }
}
