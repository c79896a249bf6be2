/** Fresh public key lines for the tests, made without the code that the product makes its own with. */
import { generateKeyPairSync } from 'node:crypto';

/** A bare `ssh-ed25519 AAAA…` line of exactly 80 characters. */
export function freshEd25519Line(): string {
  const { publicKey } = generateKeyPairSync('ed25519');
  const { x = '' } = publicKey.export({ format: 'jwk' });
  return line('ssh-ed25519', [Buffer.from(x, 'base64url')]);
}

export function freshRsaLine(bits = 2048): string {
  const { publicKey } = generateKeyPairSync('rsa', { modulusLength: bits });
  const { e = '', n = '' } = publicKey.export({ format: 'jwk' });
  const modulus = Buffer.concat([Buffer.of(0), Buffer.from(n, 'base64url')]);
  return line('ssh-rsa', [Buffer.from(e, 'base64url'), modulus]);
}

function line(type: string, fields: readonly Buffer[]): string {
  const strings = [Buffer.from(type), ...fields].flatMap((field) => {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(field.length);
    return [length, field];
  });
  return `${type} ${Buffer.concat(strings).toString('base64')}`;
}
