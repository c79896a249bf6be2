/**
 * Key pairs of EC2: a public key for each name, region by region.
 * https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ImportKeyPair.html, API_DescribeKeyPairs.html and
 * API_DeleteKeyPair.html beside it; what the fingerprints are of: the user guide's "Verify the fingerprint of your key pair".
 */
import { createHash, createPublicKey, randomBytes } from 'node:crypto';
import { listed, type Xml } from '../../src/demo/ec2-xml.ts';
import { isPublicKeyLine } from '../../src/demo/instance-connect.ts';
import { type WireFailure, wireFailure } from '../../src/demo/wire-failure.ts';

export interface KeyPair {
  readonly id: string;
  readonly name: string;
  readonly region: string;
  /** An authorized_keys line. */
  readonly publicKey: string;
  /** Another one than follows from the key: EC2's own pairs have a fingerprint of the private half. */
  readonly fingerprint?: string;
  /** Milliseconds since 1970. */
  readonly at: number;
}

/** By `keyPairPlace`. */
export type KeyPairs = Map<string, KeyPair>;

export function keyPairPlace(region: string, name: string): string {
  return `${region} ${name}`;
}

export function keyPairOperations(
  pairs: KeyPairs,
): Readonly<Record<string, (form: URLSearchParams, region: string) => Xml | WireFailure>> {
  return {
    ImportKeyPair(form, region) {
      const name = form.get('KeyName') ?? '';
      if (!/^[\x20-\x7e]{1,255}$/.test(name)) {
        return wireFailure('InvalidParameterValue', 'Value for parameter KeyName is invalid');
      }
      const line = Buffer.from(form.get('PublicKeyMaterial') ?? '', 'base64')
        .toString('latin1')
        .trim();
      if (!isPublicKeyLine(line)) {
        return wireFailure('InvalidKey.Format', 'Key is not in valid OpenSSH public key format');
      }
      const place = keyPairPlace(region, name);
      if (pairs.has(place)) {
        return wireFailure('InvalidKeyPair.Duplicate', `The keypair already exists: ${name}`);
      }
      const id = `key-0${randomBytes(8).toString('hex')}`;
      const pair = { id, name, region, publicKey: line, at: Date.now() };
      pairs.set(place, pair);
      return { keyFingerprint: fingerprint(pair), keyName: name, keyPairId: id };
    },
    DescribeKeyPairs(form, region) {
      const names = listed(form, 'KeyName');
      const missing = names.find((name) => !pairs.has(keyPairPlace(region, name)));
      if (missing !== undefined) {
        return wireFailure('InvalidKeyPair.NotFound', `The key pair '${missing}' does not exist`);
      }
      const here = [...pairs.values()].filter((pair) => pair.region === region);
      const wanted = here.filter(({ name }) => names.length === 0 || names.includes(name));
      const withKey = form.get('IncludePublicKey') === 'true';
      return { keySet: wanted.map((pair) => described(pair, withKey)) };
    },
    DeleteKeyPair(form, region) {
      const place = keyPairPlace(region, form.get('KeyName') ?? '');
      const pair = pairs.get(place);
      pairs.delete(place);
      return { return: true, keyPairId: pair?.id };
    },
  };
}

function described(pair: KeyPair, withKey: boolean): Xml {
  return {
    keyPairId: pair.id,
    keyFingerprint: fingerprint(pair),
    keyName: pair.name,
    keyType: pair.publicKey.startsWith('ssh-rsa ') ? 'rsa' : 'ed25519',
    tagSet: [],
    publicKey: withKey ? pair.publicKey : undefined,
    createTime: new Date(pair.at).toISOString(),
  };
}

/** Of an imported key: MD5 of the DER form for RSA, SHA-256 of the blob, with its padding, for Ed25519. */
function fingerprint({ publicKey, fingerprint: own }: KeyPair): string {
  if (own !== undefined) return own;
  const [type, base64 = ''] = publicKey.split(' ');
  const blob = Buffer.from(base64, 'base64');
  if (type !== 'ssh-rsa') return createHash('sha256').update(blob).digest('base64');
  const fields: Buffer[] = [];
  for (let at = 0; at < blob.length; ) {
    const end = at + 4 + blob.readUInt32BE(at);
    fields.push(blob.subarray(at + 4, end));
    at = end;
  }
  const [, e, n] = fields.map((field) => field.toString('base64url'));
  const key = createPublicKey({ key: { kty: 'RSA', e: e ?? '', n: n ?? '' }, format: 'jwk' });
  const hex = createHash('md5')
    .update(key.export({ type: 'spki', format: 'der' }))
    .digest('hex');
  return (hex.match(/../g) ?? []).join(':');
}
