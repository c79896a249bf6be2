import { printable } from '../cli/terminal.ts';
import { MintError } from '../errors.ts';
import { isCertificate, keyOfCertificate, type TypedBlob } from './certificate.ts';
import { fingerprintOf, type KeyLine, readKeyLine } from './key-line.ts';
import { inspectKey } from './keygen.ts';

/** A public key that OpenSSH accepts in a line of authorized_keys. */
export interface PublicKey extends TypedBlob {
  readonly comment: string;
  readonly fingerprint: string;
  /** The type as `ssh-keygen -l` shows it: `ED25519-SK`. */
  readonly kind: string;
  /** Whether the input was a certificate; this is the key inside it. */
  readonly certified: boolean;
}

/** The longest line in bytes that sshd before 7.9 reads. */
const maxLineBytes = 8_000;

/**
 * Parses one public key in the form of a `.pub` file. `comment` replaces the key's own comment.
 *
 * For a certificate, returns the key inside: sshd compares a line of authorized_keys with the plain key, so a line with a
 * certificate has no effect. DSA keys are refused, because OpenSSH has dropped them.
 *
 * @throws MintError `key-invalid`, `key-options`, `key-private`, `io-failed`
 */
export async function parsePublicKey(bytes: Buffer, comment?: string): Promise<PublicKey> {
  const line = readKeyLine(onlyLine(textOf(bytes)));
  if (line === undefined) throw notAKey('this is not a public key as OpenSSH writes it');
  if (line.options !== '') {
    throw new MintError('key-options', 'the line has options before the key', {
      hint: 'give the key alone; the only option you can set is --expires',
    });
  }
  if (line.type.startsWith('ssh-dss')) throw notAKey('this is a DSA key, which OpenSSH has dropped');
  if (line.blob.toString('base64') !== line.base64) throw notAKey('the base64 of this key is damaged');
  const inspected = await inspectKey(line.type, line.base64);
  if (inspected === undefined) throw notAKey('OpenSSH does not accept this key');
  const { type, blob } = plainKey(line);
  if (fingerprintOf({ type, blob }) !== inspected.fingerprint) {
    throw notAKey('OpenSSH reads this key differently');
  }
  const key = {
    type,
    blob,
    comment: checkedComment(comment ?? line.comment),
    fingerprint: inspected.fingerprint,
    kind: inspected.kind.replace(/-CERT$/, ''),
    certified: isCertificate(line.type),
  };
  if (Buffer.byteLength(publicKeyText(key)) <= maxLineBytes) return key;
  throw notAKey(`this key is too long for a line: with its comment at most ${maxLineBytes} bytes`);
}

/** The line for a file, without a line end. */
export function publicKeyText({ type, blob, comment }: Pick<PublicKey, 'type' | 'blob' | 'comment'>): string {
  return `${type} ${blob.toString('base64')}${comment === '' ? '' : ` ${comment}`}`;
}

/** Explains why the text is not a public key. The message never quotes the text, which may be a secret. */
function textOf(bytes: Buffer): string {
  const text = bytes.toString('latin1');
  // Private keys: OpenSSH and PEM, PuTTY, and the base64 of an OpenSSH key without its header.
  if (/PRIVATE KEY|^PuTTY-User-Key-File|^\s*b3BlbnNzaC1rZXk/.test(text)) {
    throw new MintError('key-private', 'this is a private key; it was not sent anywhere', {
      hint: 'give the public key: the .pub file beside it, or the output of `ssh-keygen -y -f FILE`',
    });
  }
  if (/^\s*---- BEGIN SSH2 PUBLIC KEY/.test(text)) {
    throw notAKey('this key is in the format of RFC 4716', 'convert it: `ssh-keygen -i -f FILE`');
  }
  if (/^\s*-----BEGIN (?:RSA )?PUBLIC KEY/.test(text)) {
    throw notAKey('this key is in PEM', 'convert it: `ssh-keygen -i -m PKCS8 -f FILE`, or -m PEM');
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw notAKey('this is not text in UTF-8', undefined, cause);
  }
}

function onlyLine(text: string): string {
  const lines = text.split(/\r?\n/).filter((line) => !/^[ \t]*(?:#|$)/.test(line));
  const [line, ...more] = lines;
  if (line === undefined) throw notAKey('it contains no key');
  if (more.length > 0) throw notAKey('it has more than one line', 'add one key at a time');
  return line;
}

function plainKey({ type, blob }: KeyLine): TypedBlob {
  if (!isCertificate(type)) return { type, blob };
  const plain = keyOfCertificate({ type, blob });
  if (plain === undefined) throw notAKey('unknown kind of certificate');
  return plain;
}

/** Checks a comment, which sshd and terminals read: it may hold no line end, control or invisible characters. */
function checkedComment(comment: string): string {
  const trimmed = comment.trim();
  if (printable(trimmed) === trimmed) return trimmed;
  throw new MintError('key-invalid', 'the comment has control or invisible characters', {
    hint: 'give another one: --comment "my phone"',
  });
}

function notAKey(message: string, hint?: string, cause?: unknown): MintError {
  return new MintError('key-invalid', message, {
    hint: hint ?? 'a public key is one line, such as "ssh-ed25519 AAAA… comment"',
    cause,
  });
}
