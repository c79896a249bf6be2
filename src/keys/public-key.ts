import { printable } from '../cli/terminal.ts';
import { MintError } from '../errors.ts';
import { isCertificate, keyOfCertificate, type TypedBlob } from './certificate.ts';
import { fingerprintOf, type KeyLine, readKeyLine } from './key-line.ts';
import { inspectKey } from './keygen.ts';

/** A key that OpenSSH accepts, as it may stand in a line of authorized_keys. */
export interface PublicKey extends TypedBlob {
  readonly comment: string;
  readonly fingerprint: string;
  /** As OpenSSH names it to people: `ED25519-SK`. */
  readonly kind: string;
  /** It came as a certificate, and is the key inside. */
  readonly certified: boolean;
}

/** sshd before 7.9 reads no longer line, whatever stands in it. */
const longestLine = 8_000;

/**
 * One public key, as it stands in a `.pub` file. `comment` takes the place of its own.
 *
 * A certificate gives the key inside it: sshd compares a line of authorized_keys with the plain key, so a line
 * that holds a certificate lets no one in. DSA is refused, which OpenSSH has dropped.
 *
 * @throws MintError `key-invalid`, `key-options`, `key-private`, `io-failed`
 */
export async function parsePublicKey(bytes: Buffer, comment?: string): Promise<PublicKey> {
  const line = readKeyLine(onlyLine(textOf(bytes)));
  if (line === undefined) throw notAKey('this is not a public key as OpenSSH writes it');
  if (line.options !== '') {
    throw new MintError('key-options', 'there are options before the key', {
      hint: 'give the key alone; the one option there is to set is --expires',
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
  if (Buffer.byteLength(publicKeyText(key)) <= longestLine) return key;
  throw notAKey(`this key is too long for a line: with its comment at most ${longestLine} bytes`);
}

/** The line for a file, without an end. */
export function publicKeyText({ type, blob, comment }: Pick<PublicKey, 'type' | 'blob' | 'comment'>): string {
  return `${type} ${blob.toString('base64')}${comment === '' ? '' : ` ${comment}`}`;
}

/** Never quotes what it was given: it may be a secret. */
function textOf(bytes: Buffer): string {
  const text = bytes.toString('latin1');
  // OpenSSH and PEM, PuTTY, and the inside of an OpenSSH one without its frame.
  if (/PRIVATE KEY|^PuTTY-User-Key-File|^\s*b3BlbnNzaC1rZXk/.test(text)) {
    throw new MintError('key-private', 'this is a private key; it was not sent anywhere', {
      hint: 'give the public one: the file beside it that ends in .pub, or `ssh-keygen -y -f FILE`',
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
  if (line === undefined) throw notAKey('there is no key in it');
  if (more.length > 0) throw notAKey('there is more than one line in it', 'add one key at a time');
  return line;
}

function plainKey({ type, blob }: KeyLine): TypedBlob {
  if (!isCertificate(type)) return { type, blob };
  const plain = keyOfCertificate({ type, blob });
  if (plain === undefined) throw notAKey('this kind of certificate is not known');
  return plain;
}

/** It will be read by sshd and by terminals: nothing in it may end the line or be other than it looks. */
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
