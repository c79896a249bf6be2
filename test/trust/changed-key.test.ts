import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { test } from 'node:test';
import { parseHostKey } from '../../src/ssh/hostkey.ts';
import { publicKeyBlob } from '../../src/ssh/key-encoding.ts';
import { type ChangeEvidence, findingOf, isStrict, likelyCause } from '../../src/trust/changed-key.ts';
import type { Pin } from '../../src/trust/pin.ts';

const key = parseHostKey(publicKeyBlob(generateKeyPairSync('ed25519').publicKey));
const other = parseHostKey(publicKeyBlob(generateKeyPairSync('ed25519').publicKey));
const now = Date.parse('2026-03-01T12:00:00Z');

const pinned: Pin = {
  fingerprint: other.fingerprint,
  instance: 'i-0aaaaaaaaaaaaaaaa',
  account: '111122223333',
  region: 'eu-central-1',
  lastLogin: '2026-03-01T11:00:00Z',
};

const strict: ChangeEvidence = {
  console: { kind: 'shown', startsAtBoot: true },
  current: {
    instance: 'i-0bbbbbbbbbbbbbbbb',
    account: '111122223333',
    region: 'eu-central-1',
    owner: 'ada',
    launchedAt: '2026-03-01T11:56:00Z',
  },
  oldIsGone: true,
  callersOwner: 'ada',
};

test('looks for a key among all keys of the console', () => {
  const shows = (isWhole: boolean, ...keys: { type: string; fingerprint: string }[]) =>
    findingOf({ kind: 'block', block: { instance: 'i-1', keys, isWhole } }, key, true);
  assert.deepEqual(shows(true, key), { kind: 'shown', startsAtBoot: true });
  assert.deepEqual(shows(true, other), { kind: 'differs', shown: [other] });
  assert.equal(shows(true, { ...other, type: 'ssh-rsa' }).kind, 'differs');
  assert.equal(shows(false, { ...other, type: 'ssh-rsa' }).kind, 'silent');
  assert.equal(shows(false, other).kind, 'differs');
  assert.equal(findingOf({ kind: 'silent', why: 'denied' }, key, true).kind, 'silent');
});

test('names a new instance, its age and the keys of the console', () => {
  assert.deepEqual(likelyCause('dev', pinned, strict, now), [
    'The instance behind dev is a new one: i-0aaaaaaaaaaaaaaaa -> i-0bbbbbbbbbbbbbbbb, launched 4 minutes ago.',
    "AWS's console output of i-0bbbbbbbbbbbbbbbb shows this key.",
  ]);
});

test('does not report a VM in another account or region as a new instance of the old one', () => {
  for (const elsewhere of [{ account: '999988887777' }, { region: 'us-east-1' }]) {
    const current = {
      instance: 'i-0bbbbbbbbbbbbbbbb',
      account: '111122223333',
      region: 'eu-central-1',
      ...elsewhere,
    };
    const [first = ''] = likelyCause('dev', pinned, { ...strict, current }, now);
    assert.equal(
      first,
      'Two VMs are called dev: the pinned key is the one of i-0aaaaaaaaaaaaaaaa in 111122223333 (eu-central-1), ' +
        `and this is i-0bbbbbbbbbbbbbbbb in ${current.account} (${current.region}).`,
    );
    assert.equal(isStrict(pinned, { ...strict, current: { ...strict.current, ...current } }), false);
  }
  // Values that are unknown on one side make no difference.
  const [unknown = ''] = likelyCause(
    'dev',
    { ...pinned, account: undefined, region: undefined },
    strict,
    now,
  );
  assert.match(unknown, /is a new one/);
});

test('gives no harmless cause for another key of the same instance', () => {
  const current = { instance: 'i-0aaaaaaaaaaaaaaaa' };
  const [first = '', second = ''] = likelyCause(
    'dev',
    pinned,
    { ...strict, current, console: { kind: 'differs', shown: [other] } },
    now,
  );
  assert.match(first, /does not change by itself/);
  assert.match(second, /shows ANOTHER key/);
});

test('reports unknown facts as unknown', () => {
  const silent: ChangeEvidence = {
    ...strict,
    current: undefined,
    console: { kind: 'silent', why: 'denied' },
  };
  assert.match(
    likelyCause('dev', pinned, silent, now).join(' '),
    /AWS did not return .*cannot confirm the key: denied/,
  );
  assert.match(likelyCause('dev', { fingerprint: other.fingerprint }, silent, now).join(' '), /is unknown/);
});

test('accepts by evidence only if all conditions hold', () => {
  assert.equal(isStrict(pinned, strict), true);
  assert.equal(isStrict({ ...pinned, lastLogin: '2026-03-01T11:55:59Z' }, strict), true);
  const current = strict.current;
  const weaker: [string, Pin, ChangeEvidence][] = [
    ['the console shows another key', pinned, { ...strict, console: { kind: 'differs', shown: [] } }],
    ['the console is silent', pinned, { ...strict, console: { kind: 'silent', why: '' } }],
    [
      'its beginning has scrolled away',
      pinned,
      { ...strict, console: { kind: 'shown', startsAtBoot: false } },
    ],
    ['AWS did not say what is there now', pinned, { ...strict, current: undefined }],
    ['the instance is the same', { ...pinned, instance: 'i-0bbbbbbbbbbbbbbbb' }, strict],
    ['the old instance is unknown', { ...pinned, instance: undefined }, strict],
    ['the old instance lives', pinned, { ...strict, oldIsGone: false }],
    ['it is unknown whether the instance exists', pinned, { ...strict, oldIsGone: undefined }],
    ['another account', { ...pinned, account: '999999999999' }, strict],
    ['an unknown account', { ...pinned, account: undefined }, strict],
    ['another region', { ...pinned, region: 'us-east-1' }, strict],
    ['another owner', pinned, { ...strict, callersOwner: 'eve' }],
    [
      'no owner on either side',
      pinned,
      { ...strict, callersOwner: undefined, current: { ...current, instance: 'i-0b', owner: undefined } },
    ],
    ['launched before the last login', { ...pinned, lastLogin: '2026-03-01T11:57:00Z' }, strict],
    ['launched in the moment of the last login', { ...pinned, lastLogin: '2026-03-01T11:56:00Z' }, strict],
    ['launched a second before the last login', { ...pinned, lastLogin: '2026-03-01T11:56:01Z' }, strict],
    ['a last login in the future', { ...pinned, lastLogin: '2027-03-01T11:56:00Z' }, strict],
    [
      'an unreadable launch',
      pinned,
      { ...strict, current: { ...current, instance: 'i-0b', launchedAt: 'soon' } },
    ],
    [
      'an unknown launch',
      pinned,
      { ...strict, current: { ...current, instance: 'i-0b', launchedAt: undefined } },
    ],
    ['never logged in', { ...pinned, lastLogin: undefined }, strict],
    ['an unreadable date', { ...pinned, lastLogin: 'yesterday' }, strict],
  ];
  for (const [what, pin, evidence] of weaker) assert.equal(isStrict(pin, evidence), false, what);
});
