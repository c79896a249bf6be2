import { closeSync, openSync, readSync } from 'node:fs';
import { MintError } from '../errors.ts';
import { quoted } from '../platform/files.ts';
import { sleepSync } from '../platform/sleep.ts';

const maxBytes = 65_536;

/**
 * Reads the key that the user named: `-` is stdin; text that looks like a key is the key (in one word or in several, as a
 * shell splits it); anything else is the path of a file.
 *
 * @throws MintError `key-invalid` (more than 64 KB), `io-failed`
 */
export function readKeySource(words: readonly string[]): Buffer {
  const text = words.join(' ');
  if (text === '-') return readLimited('stdin', 0);
  // The base64 of every key begins with AAAA: the length of the type's name, in four bytes.
  if (/\sAAAA|-----BEGIN /.test(text)) return Buffer.from(text);
  if (words.length !== 1) {
    throw new MintError('usage', 'neither a key nor a single file was given', {
      hint: 'give a public key in quotes, a file, or - for stdin',
    });
  }
  let descriptor: number;
  try {
    descriptor = openSync(text, 'r');
  } catch (error) {
    throw unreadable(quoted(text), error);
  }
  try {
    return readLimited(quoted(text), descriptor);
  } finally {
    closeSync(descriptor);
  }
}

function readLimited(name: string, descriptor: number): Buffer {
  const bytes = Buffer.alloc(maxBytes + 1);
  for (let length = 0; ; ) {
    const read = readPiece(name, descriptor, bytes, length);
    if (read === 0) return bytes.subarray(0, length);
    length += read;
    if (length > maxBytes) {
      throw new MintError('key-invalid', `${name} is larger than any public key: over ${maxBytes} bytes`);
    }
  }
}

function readPiece(name: string, descriptor: number, bytes: Buffer, at: number): number {
  for (;;) {
    try {
      return readSync(descriptor, bytes, at, bytes.length - at, null);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'EOF') return 0;
      // Another process has made stdin non-blocking: wait and try again.
      if (code !== 'EAGAIN') throw unreadable(name, error);
      sleepSync(20);
    }
  }
}

function unreadable(name: string, cause: unknown): MintError {
  const { code } = cause as NodeJS.ErrnoException;
  const missing = code === 'ENOENT';
  return new MintError('io-failed', missing ? `file not found: ${name}` : `cannot read ${name}: ${code}`, {
    cause,
    hint: missing ? 'give a public key in quotes, the path of one, or - for stdin' : undefined,
  });
}
