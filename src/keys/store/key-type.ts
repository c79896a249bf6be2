/** The supported key types, and their public keys in wire format. */
import { createPublicKey, generateKeyPair, type KeyObject } from 'node:crypto';
import { promisify } from 'node:util';
import { MintError } from '../../errors.ts';
import { bitLength, parseHostKey } from '../../ssh/hostkey.ts';
import { encodeString, WireReader } from '../../ssh/wire.ts';

const generate = promisify(generateKeyPair);

/** The types that `create` makes. */
const makers = {
  ed25519: () => generate('ed25519'),
  'rsa-2048': () => generate('rsa', { modulusLength: 2048 }),
  'rsa-4096': () => generate('rsa', { modulusLength: 4096 }),
  'ecdsa-p256': () => generate('ec', { namedCurve: 'P-256' }),
} as const;

export const keyTypes = Object.keys(makers) as readonly (keyof typeof makers)[];

const rsaBits = { least: 2048, most: 16_384 };
const ecdsaTypes: Readonly<Record<string, string>> = {
  'P-256': 'nistp256',
  'P-384': 'nistp384',
  'P-521': 'nistp521',
};

/** @throws MintError `usage` */
export async function generateKey(type: string): Promise<KeyObject> {
  const known = keyTypes.find((one) => one === type);
  if (known !== undefined) return (await makers[known]()).privateKey;
  throw new MintError('usage', 'unsupported key type', {
    hint: `--type is one of ${keyTypes.join(', ')}`,
  });
}

/**
 * @returns the public key blob: RFC 8709, RFC 4253 §6.6 or RFC 5656
 * @throws MintError `key-invalid` for an unsupported type or size
 */
export function publicBlob(key: KeyObject): Buffer {
  const half = key.type === 'private' ? createPublicKey(key) : key;
  switch (half.asymmetricKeyType) {
    case 'ed25519':
      return wire('ssh-ed25519', decoded(half.export({ format: 'jwk' }).x));
    case 'rsa': {
      const { e, n } = half.export({ format: 'jwk' });
      checkRsa(bitLength(decoded(n)));
      return wire('ssh-rsa', positive(decoded(e)), positive(decoded(n)));
    }
    case 'ec': {
      // Node has no JWK for curves that SSH does not support.
      const name = ecdsaTypes[curveOf(half) ?? ''];
      if (name === undefined) throw notKept('an EC key on a curve that SSH does not support');
      const { x, y } = half.export({ format: 'jwk' });
      const point = Buffer.concat([Buffer.of(4), decoded(x), decoded(y)]);
      return wire(`ecdsa-sha2-${name}`, Buffer.from(name), point);
    }
    case 'dsa':
      throw notKept('a DSA key, which OpenSSH has dropped');
    default:
      throw notKept(`a key of type ${half.asymmetricKeyType}, which SSH does not support`);
  }
}

/**
 * @returns such as `ed25519`, `rsa-3072` or `ecdsa-p384`
 * @throws MintError `key-invalid` for an unsupported type, `not-ssh` for a damaged blob
 */
export function typeOfBlob(blob: Buffer): string {
  const { type } = parseHostKey(blob);
  if (type === 'ssh-ed25519') return 'ed25519';
  const [, curve] = /^ecdsa-sha2-nist(p\d+)$/.exec(type) ?? [];
  if (curve !== undefined) return `ecdsa-${curve}`;
  if (type !== 'ssh-rsa') throw notKept(`a key of type ${type}`);
  const reader = new WireReader(blob);
  reader.string();
  reader.mpint();
  const bits = bitLength(reader.mpint());
  checkRsa(bits);
  return `rsa-${bits}`;
}

/** @returns the line of a `.pub` file, with its line end */
export function publicLine(blob: Buffer, comment: string): string {
  return `${parseHostKey(blob).type} ${blob.toString('base64')} ${comment}\n`;
}

/** @returns the key blob in the line of a `.pub` file; undefined if it has none */
export function blobOfLine(line: string): Buffer | undefined {
  const [, type, base64] = /^([a-z0-9-]+) ([A-Za-z0-9+/]+={0,2})(?: |$)/.exec(line) ?? [];
  if (type === undefined || base64 === undefined) return undefined;
  const blob = Buffer.from(base64, 'base64');
  try {
    return parseHostKey(blob).type === type ? blob : undefined;
  } catch {
    return undefined;
  }
}

function curveOf(key: KeyObject): string | undefined {
  const names: Readonly<Record<string, string>> = {
    prime256v1: 'P-256',
    secp384r1: 'P-384',
    secp521r1: 'P-521',
  };
  return names[key.asymmetricKeyDetails?.namedCurve ?? ''];
}

function checkRsa(bits: number): void {
  if (bits >= rsaBits.least && bits <= rsaBits.most) return;
  throw notKept(`an RSA key of ${bits} bits: it must have from ${rsaBits.least} to ${rsaBits.most}`);
}

function notKept(what: string): MintError {
  return new MintError('key-invalid', `this is ${what}`, {
    hint: 'supported types: ed25519, RSA with 2048 bits or more, and ECDSA (P-256, P-384, P-521)',
  });
}

function wire(type: string, ...fields: Buffer[]): Buffer {
  return Buffer.concat([encodeString(type), ...fields.map(encodeString)]);
}

/** An mpint of RFC 4251 §5: a zero byte precedes a leading bit that would be its sign. */
function positive(magnitude: Buffer): Buffer {
  return (magnitude[0] ?? 0) & 0x80 ? Buffer.concat([Buffer.of(0), magnitude]) : magnitude;
}

function decoded(text: string | undefined): Buffer {
  return Buffer.from(text ?? '', 'base64url');
}
