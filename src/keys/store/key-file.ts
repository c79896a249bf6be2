/** Parses a private key file without opening it: its format, and whether it has a passphrase. */

import { MintError } from '../../errors.ts';
import { quoted } from '../../platform/files.ts';
import { WireReader } from '../../ssh/wire.ts';

export interface KeyFile {
  readonly format: 'openssh' | 'pem' | 'pkcs8';
  /** The file's text with LF line ends. */
  readonly text: string;
  readonly encrypted: boolean;
  /** The public half, which an OpenSSH file has unencrypted; undefined for other formats. */
  readonly publicBlob: Buffer | undefined;
}

const frame = /-----BEGIN ([A-Z0-9 ]+)-----\n([\s\S]*?)-----END \1-----/g;

const formats: Readonly<Record<string, KeyFile['format']>> = {
  'OPENSSH PRIVATE KEY': 'openssh',
  'RSA PRIVATE KEY': 'pem',
  'EC PRIVATE KEY': 'pem',
  'PRIVATE KEY': 'pkcs8',
  'ENCRYPTED PRIVATE KEY': 'pkcs8',
};

/** The ciphers of PROTOCOL.key that ssh2 supports. */
const readableCiphers = /^(?:none|aes(?:128|192|256)-(?:ctr|cbc)|aes(?:128|256)-gcm@openssh\.com)$/;

/** `ssh-dss` is refused by name later. */
const keptTypes = /^(?:ssh-ed25519|ssh-rsa|ssh-dss|ecdsa-sha2-nistp(?:256|384|521))$/;
const otherTypes =
  'your own agent can serve it: set `identity` of the VM to its .pub file, with access = "injected"';

/** The most bcrypt rounds that are accepted: ssh-keygen uses 16 or 24. The file is untrusted until they are computed. */
const maxRounds = 4096;

/** @throws MintError `key-invalid` if it is not a private key, `key-format` if it must be converted first */
export function parseKeyFile(bytes: Buffer): KeyFile {
  const text = bytes.toString('latin1').replaceAll('\r\n', '\n');
  refusePublicKey(bytes);
  refuseOthers(text);
  // `openssl ecparam -genkey` writes the curve before the key.
  const framed = [...text.matchAll(frame)].filter(([, label]) => label !== 'EC PARAMETERS');
  const [found, ...more] = framed;
  if (found === undefined) {
    if (text.includes('-----BEGIN ')) throw invalid('this private key is cut off or damaged');
    throw invalid('this is not a private key');
  }
  if (more.length > 0) throw invalid('it contains more than one key', 'import one key at a time');
  const [whole, label = '', body = ''] = found;
  const format = formats[label];
  if (label === 'DSA PRIVATE KEY') throw invalid('this is a DSA key, which OpenSSH has dropped');
  if (format === undefined) throw invalid('SSH does not support this kind of private key');
  if (format === 'openssh') return parseOpenSsh(`${whole}\n`, body);
  const encrypted = label.startsWith('ENCRYPTED') || /^Proc-Type: 4,ENCRYPTED$/m.test(body);
  return { format, text: `${whole}\n`, encrypted, publicBlob: undefined };
}

/** The error for a format or cipher that ssh-keygen reads and mint-ssh does not. */
export function mustBeConverted(what: string): MintError {
  return new MintError('key-format', `this key is encrypted with ${what}, which mint-ssh does not support`, {
    hint: 'convert a copy of it, then import that: `ssh-keygen -p -Z aes256-ctr -f FILE`',
  });
}

/** @throws MintError `key-invalid` for a public key */
export function refusePublicKey(bytes: Buffer): void {
  const text = bytes.toString('latin1');
  if (/^\s*(?:ssh-|ecdsa-|sk-)[a-z0-9@.-]+ AAAA|BEGIN (?:RSA |SSH2 |EC )?PUBLIC KEY/.test(text)) {
    throw invalid('this is a public key', 'the private one is the file beside it without .pub');
  }
}

function refuseOthers(text: string): void {
  if (text.startsWith('PuTTY-User-Key-File')) {
    throw new MintError('key-format', 'PuTTY (.ppk) keys are not supported', {
      hint: 'convert it: `puttygen FILE -O private-openssh -o NEW`',
    });
  }
}

/** PROTOCOL.key: the magic, cipher, KDF with its options, the number of keys, and their public halves. */
function parseOpenSsh(text: string, body: string): KeyFile {
  const bytes = Buffer.from(body, 'base64');
  const magic = Buffer.from('openssh-key-v1\0');
  if (!bytes.subarray(0, magic.length).equals(magic)) throw invalid('this private key is damaged');
  try {
    const reader = new WireReader(bytes.subarray(magic.length));
    const [cipher, kdf, options] = [reader.text(), reader.text(), reader.string()];
    const count = reader.uint32();
    const publicBlob = reader.string();
    const secret = reader.string();
    // The tag of an authenticated cipher may follow.
    if (count !== 1 || secret.length === 0) throw invalid('this file does not hold exactly one key');
    const type = new WireReader(publicBlob).text();
    if (type.startsWith('sk-')) throw inHardware();
    if (!/^[a-z0-9@.-]{1,64}$/.test(type)) throw invalid('this private key is damaged');
    if (!keptTypes.test(type)) throw invalid(`keys of type ${type} are not supported`, otherTypes);
    if (!readableCiphers.test(cipher)) throw mustBeConverted(quoted(cipher.slice(0, 40)));
    checkRounds(kdf, options);
    return { format: 'openssh', text, encrypted: cipher !== 'none', publicBlob };
  } catch (error) {
    if (error instanceof MintError && error.code === 'not-ssh') {
      throw invalid('this private key is cut off or damaged', undefined, error);
    }
    throw error;
  }
}

function checkRounds(kdf: string, options: Buffer): void {
  if (kdf === 'none') return;
  if (kdf !== 'bcrypt') throw mustBeConverted(`a passphrase by ${quoted(kdf.slice(0, 40))}`);
  const reader = new WireReader(options);
  reader.string();
  const rounds = reader.uint32();
  if (rounds > maxRounds) throw mustBeConverted(`${rounds} rounds`);
}

function inHardware(): MintError {
  return invalid(
    'this is a hardware key: the file does not contain the private key',
    'set `identity` of the VM to its .pub file; your own agent signs then',
  );
}

/** @returns the error `key-invalid` */
export function invalid(message: string, hint?: string, cause?: unknown): MintError {
  return new MintError('key-invalid', message, { hint, cause });
}
