import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { MintError } from '../../src/errors.ts';
import { formatRecord, parseRecord } from '../../src/trust/record.ts';
import { ecdsaKey, ed25519Key } from './place.ts';

const [key, refused] = [ed25519Key(), ecdsaKey()];
const whole = formatRecord({
  pin: {
    fingerprint: key.fingerprint,
    key,
    type: key.type,
    proof: 'console',
    instance: 'i-1',
    lastLogin: '2026-01-02T03:04:05Z',
  },
  refused: { key: refused, seenAt: '2026-01-02T03:04:05Z', instance: 'i-2' },
  unknown: { future: [1, { two: null }] },
});

describe('a record', () => {
  test('is the same after reading and writing it, with fields that we do not know', () => {
    assert.equal(formatRecord(parseRecord(whole, 'x')), whole);
    assert.deepEqual(parseRecord(whole, 'x').unknown, { future: [1, { two: null }] });
    assert.equal(parseRecord(whole, 'x').pin?.key?.fingerprint, key.fingerprint);
  });

  test('may have no pin, or one without its key', () => {
    assert.equal(parseRecord('{"version":1}', 'x').pin, undefined);
    assert.equal(
      parseRecord(JSON.stringify({ version: 1, fingerprint: key.fingerprint }), 'x').pin?.key,
      undefined,
    );
  });

  const object = JSON.parse(whole);
  const malformed: Record<string, unknown> = {
    'no version': { ...object, version: undefined },
    'a version that is text': { ...object, version: '1' },
    'an old version': { ...object, version: 0 },
    'no fingerprint': { ...object, fingerprint: undefined },
    'a short fingerprint': { ...object, fingerprint: 'SHA256:abc' },
    'another fingerprint than its key': { ...object, fingerprint: refused.fingerprint },
    'another type than its key': { ...object, type: 'ssh-rsa' },
    'no type for its key': { ...object, type: undefined },
    'a key that is not base64': { ...object, key: `${object.key}!` },
    'a key that ends too soon': { ...object, key: key.blob.subarray(0, 40).toString('base64') },
    'an empty key': { ...object, key: '' },
    'a number for an instance': { ...object, instance: 7 },
    'null for a date': { ...object, lastLogin: null },
    'a proof that is none': { ...object, proof: 'trust me' },
    'refused as text': { ...object, refused: 'x' },
    'refused as a list': { ...object, refused: [] },
    'refused without a key': { ...object, refused: { seenAt: 'x' } },
    'refused without a date': { ...object, refused: { key: object.key } },
    'a list': [object],
    'a text': 'x',
    null: null,
  };
  for (const [what, value] of Object.entries(malformed)) {
    test(`with ${what} is refused, naming the file`, () => {
      assert.throws(
        () => parseRecord(JSON.stringify(value), '/hosts/dev.json'),
        (error: MintError) =>
          error.code === 'known-hosts-corrupt' && error.message.includes('/hosts/dev.json'),
      );
    });
  }

  test('cut off at any byte is refused', () => {
    const text = whole.trimEnd();
    for (let length = 0; length < text.length; length += 7) {
      assert.throws(() => parseRecord(text.slice(0, length), 'x'), { code: 'known-hosts-corrupt' });
    }
  });

  test('of a newer version is left alone', () => {
    assert.throws(() => parseRecord('{"version":2}', 'x'), { code: 'io-failed' });
  });
});
