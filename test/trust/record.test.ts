import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { MintError } from '../../src/errors.ts';
import { formatRecord, parseRecord } from '../../src/trust/record.ts';
import { ecdsaKey, ed25519Key } from './place.ts';

const [key, refused] = [ed25519Key(), ecdsaKey()];
const when = '2026-01-02T03:04:05Z';
const whole = formatRecord({
  keys: [{ fingerprint: key.fingerprint, key, type: key.type, evidence: 'console', pinnedAt: when }],
  instance: 'i-1',
  lastLogin: when,
  console: {
    instance: 'i-1',
    keys: [{ type: key.type, fingerprint: key.fingerprint, key }],
    isWhole: true,
  },
  refused: [{ key: refused, reason: 'unverified', seenAt: when, instance: 'i-2' }],
  unknown: { future: [1, { two: null }] },
});

function isCorrupt(error: MintError): boolean {
  return error.code === 'known-hosts-corrupt' && error.message.includes('/hosts/dev.json');
}

describe('a record', () => {
  test('is unchanged after reading and writing it, unknown fields included', () => {
    assert.equal(formatRecord(parseRecord(whole, 'x')), whole);
    assert.deepEqual(parseRecord(whole, 'x').unknown, { future: [1, { two: null }] });
    assert.equal(parseRecord(whole, 'x').keys[0]?.key?.fingerprint, key.fingerprint);
  });

  test('may have no key, or only a fingerprint', () => {
    assert.deepEqual(parseRecord('{"version":2}', 'x').keys, []);
    const { fingerprint } = key;
    assert.equal(
      parseRecord(JSON.stringify({ version: 2, keys: [{ fingerprint }] }), 'x').keys[0]?.key,
      undefined,
    );
  });

  const object = JSON.parse(whole);
  const [pinned] = object.keys;
  const [refusal] = object.refused;
  const withKey = (change: object) => ({ ...object, keys: [{ ...pinned, ...change }] });
  const malformed: Record<string, unknown> = {
    'no version': { ...object, version: undefined },
    'a version that is text': { ...object, version: '2' },
    'version 0': { ...object, version: 0 },
    'keys that are an object': { ...object, keys: pinned },
    'a key that is text': { ...object, keys: ['x'] },
    'very many keys': { ...object, keys: Array.from({ length: 65 }, () => pinned) },
    'no fingerprint': withKey({ fingerprint: undefined }),
    'a short fingerprint': withKey({ fingerprint: 'SHA256:abc' }),
    'another fingerprint than its key': withKey({ fingerprint: refused.fingerprint }),
    'another type than its key': withKey({ type: 'ssh-rsa' }),
    'no type for its key': withKey({ type: undefined }),
    'a key that is not base64': withKey({ key: `${pinned.key}!` }),
    'a key that ends too soon': withKey({ key: key.blob.subarray(0, 40).toString('base64') }),
    'an empty key': withKey({ key: '' }),
    'unknown evidence': withKey({ evidence: 'trust me' }),
    'a number for an instance': { ...object, instance: 7 },
    'null for a date': { ...object, lastLogin: null },
    'refused as text': { ...object, refused: 'x' },
    'refused as an object': { ...object, refused: refusal },
    'refused without a key': { ...object, refused: [{ ...refusal, key: undefined }] },
    'refused without a date': { ...object, refused: [{ ...refusal, seenAt: undefined }] },
    'refused without a reason': { ...object, refused: [{ ...refusal, reason: undefined }] },
    'a console without an instance': { ...object, console: { ...object.console, instance: undefined } },
    'a console that may be whole': { ...object, console: { ...object.console, isWhole: 1 } },
    'a console key of another fingerprint': {
      ...object,
      console: { ...object.console, keys: [{ ...object.console.keys[0], fingerprint: refused.fingerprint }] },
    },
    'a list': [object],
    'a text': 'x',
    null: null,
  };
  for (const [what, value] of Object.entries(malformed)) {
    test(`with ${what} is refused, naming the file`, () => {
      assert.throws(() => parseRecord(JSON.stringify(value), '/hosts/dev.json'), isCorrupt);
    });
  }

  test('truncated at any byte is refused', () => {
    const text = whole.trimEnd();
    for (let length = 0; length < text.length; length += 7) {
      assert.throws(() => parseRecord(text.slice(0, length), 'x'), { code: 'known-hosts-corrupt' });
    }
  });

  test('of a newer version is not changed', () => {
    assert.throws(() => parseRecord('{"version":3}', 'x'), { code: 'io-failed' });
  });
});

describe('a record of version 1', () => {
  const first = {
    version: 1,
    fingerprint: key.fingerprint,
    key: key.blob.toString('base64'),
    type: key.type,
    proof: 'stream-binding',
    instance: 'i-1',
    account: '123456789012',
    pinnedAt: when,
    lastLogin: when,
    refused: { key: refused.blob.toString('base64'), seenAt: when, instance: 'i-1' },
    future: true,
  };
  const read = (change: object = {}) =>
    parseRecord(JSON.stringify({ ...first, ...change }), '/hosts/dev.json');

  test('is read as a set of one key, and written as version 2', () => {
    const record = read();
    assert.deepEqual(
      record.keys.map(({ fingerprint, type, evidence, pinnedAt }) => [fingerprint, type, evidence, pinnedAt]),
      [[key.fingerprint, key.type, 'first-use', when]],
    );
    assert.deepEqual([record.instance, record.account, record.lastLogin], ['i-1', '123456789012', when]);
    assert.deepEqual(
      record.refused.map(({ key: one, reason }) => [one.fingerprint, reason]),
      [[refused.fingerprint, 'changed']],
    );
    assert.deepEqual(record.unknown, { future: true });
    const written = JSON.parse(formatRecord(record));
    assert.equal(written.version, 2);
    assert.deepEqual(parseRecord(JSON.stringify(written), 'x').keys[0]?.key?.blob, key.blob);
  });

  test('keeps the evidence of its key', () => {
    const evidence = (proof: string | undefined) => read({ proof }).keys[0]?.evidence;
    assert.deepEqual(['stream-binding', 'client', 'console', 'accepted', undefined].map(evidence), [
      'first-use',
      'first-use',
      'console',
      'accepted',
      undefined,
    ]);
    assert.throws(() => read({ proof: 'trust me' }), isCorrupt);
  });

  test('keeps the key that AWS showed instead', () => {
    const record = read({ consoleShows: ed25519Key().fingerprint });
    assert.equal(record.console?.instance, 'i-1');
    assert.equal(record.console?.isWhole, false);
  });

  test('without a key has no pin, and a damaged one is refused', () => {
    assert.deepEqual(parseRecord('{"version":1}', 'x').keys, []);
    for (const damage of [
      { fingerprint: undefined },
      { fingerprint: undefined, key: undefined, type: undefined, pinnedAt: undefined },
      { fingerprint: refused.fingerprint },
      { type: 'ssh-rsa' },
      { refused: [] },
      { instance: 7 },
    ]) {
      assert.throws(() => read(damage), isCorrupt, JSON.stringify(damage));
    }
  });
});
