/** The decision table of docs/architecture.md: a test for each row, and for the cases between rows. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { HostKey } from '../../src/ssh/hostkey.ts';
import { type ConsoleAnswer, decide, type Known, lookUp } from '../../src/trust/decide.ts';
import {
  type ConsoleBlock,
  type Evidence,
  isAnotherInstance,
  isElsewhere,
  knownPart,
  type Pin,
  type Refusal,
} from '../../src/trust/pin.ts';
import { ecdsaKey, ed25519Key } from './place.ts';

const [key, other] = [ed25519Key(), ed25519Key()];
const [curve, otherCurve] = [ecdsaKey(), ecdsaKey()];
const here = { instance: 'i-1' };
const nothing: Known = { pins: [], refused: [] };
const notAsked: ConsoleAnswer = { kind: 'not-asked' };
const silent: ConsoleAnswer = { kind: 'silent', why: 'denied' };

const block = (...keys: HostKey[]): ConsoleBlock => ({ instance: 'i-1', keys, isWhole: true });
const shows = (...keys: HostKey[]): ConsoleAnswer => ({ kind: 'block', block: block(...keys) });
/** A block of which a part could not be read. */
const damaged = (...keys: HostKey[]): ConsoleAnswer => ({
  kind: 'block',
  block: { ...block(...keys), isWhole: false },
});
const pinned = (one: HostKey, evidence?: Evidence, instance: string | undefined = 'i-1'): Pin => ({
  fingerprint: one.fingerprint,
  key: one,
  type: one.type,
  evidence,
  instance,
});
const known = (...pins: Pin[]): Known => ({ pins, refused: [] });
const refused = (one: HostKey, instance?: string): Refusal => ({
  key: one,
  reason: 'unverified',
  seenAt: '2026-01-01T00:00:00Z',
  instance,
});

describe('a pinned key', () => {
  test('is accepted without asking AWS', () => {
    for (const evidence of ['console', 'job', 'accepted', 'proved', 'first-use', undefined] as const) {
      const pin = pinned(key, evidence);
      assert.deepEqual(decide(key, here, known(pin), notAsked), { outcome: 'pinned', pin });
      assert.deepEqual(decide(key, here, known(pinned(curve), pin), silent), { outcome: 'pinned', pin });
    }
  });

  test('is accepted although it was refused once', () => {
    const pin = pinned(key, 'accepted');
    assert.equal(
      decide(key, here, { pins: [pin], refused: [refused(key, 'i-1')] }, silent).outcome,
      'pinned',
    );
  });

  test('that differs from the pinned one of its type has changed, for every console', () => {
    for (const console of [notAsked, silent, shows(other), shows(key, other)]) {
      const pin = pinned(key, 'accepted');
      assert.deepEqual(decide(other, here, known(pin), console), { outcome: 'changed', pin });
    }
  });

  test('of which only the fingerprint is known counts as an ed25519 key', () => {
    const pin: Pin = { fingerprint: key.fingerprint };
    assert.equal(decide(key, here, known(pin), notAsked).outcome, 'pinned');
    assert.equal(decide(other, here, known(pin), notAsked).outcome, 'changed');
    assert.equal(decide(curve, here, known(pin), silent).outcome, 'type-not-pinned');
  });

  test('may be one of two of its type while the VM rotates its keys', () => {
    const pins = known(pinned(key, 'console'), pinned(other, 'proved'));
    assert.equal(decide(key, here, pins, notAsked).outcome, 'pinned');
    assert.equal(decide(other, here, pins, notAsked).outcome, 'pinned');
    assert.equal(decide(ed25519Key(), here, pins, notAsked).outcome, 'changed');
  });
});

describe('a key of a type that is not pinned', () => {
  const pin = pinned(key, 'accepted');

  test('needs the console', () => {
    assert.deepEqual(decide(curve, here, known(pin), notAsked), { outcome: 'ask-console' });
  });

  test('that the console lists is accepted as verified', () => {
    assert.deepEqual(decide(curve, here, known(pin), shows(curve, key)), {
      outcome: 'new',
      evidence: 'console',
    });
    assert.deepEqual(decide(curve, here, known(pin), shows(curve)), { outcome: 'new', evidence: 'console' });
  });

  test('that the console does not list is blocked, by another key of the type or by none', () => {
    for (const keys of [[key], [key, otherCurve]]) {
      const decision = decide(curve, here, known(pin), shows(...keys));
      assert.deepEqual(decision, { outcome: 'unverified', shown: keys });
    }
  });

  test('is blocked where the console says nothing', () => {
    assert.deepEqual(decide(curve, here, known(pin), silent), {
      outcome: 'type-not-pinned',
      pins: [pin],
      why: 'denied',
    });
  });

  test('of another instance than the pinned one has changed, though that instance lists it', () => {
    const old = known(pinned(key, 'accepted', 'i-0'));
    for (const console of [notAsked, silent, shows(curve, other), shows(curve)]) {
      assert.equal(decide(curve, here, old, console).outcome, 'changed');
    }
  });

  test('counts as the pinned VM’s only if its instance lists a pinned key, where the instance was not known', () => {
    const unknown = known({ fingerprint: key.fingerprint });
    assert.equal(decide(curve, here, unknown, shows(curve, key)).outcome, 'new');
    assert.equal(decide(curve, here, unknown, shows(curve, other)).outcome, 'changed');
    assert.equal(decide(curve, here, unknown, shows(curve)).outcome, 'changed');
    const two = known({ fingerprint: other.fingerprint }, { fingerprint: key.fingerprint });
    assert.equal(decide(curve, here, two, shows(curve, key)).outcome, 'new');
  });

  test('is blocked where the part of a damaged console that can be read does not tell', () => {
    const decision = decide(curve, here, known(pin), damaged(key));
    assert.ok(decision.outcome === 'type-not-pinned');
    assert.deepEqual(decision.pins, [pin]);
    assert.notEqual(decision.why, silent.why);
    assert.ok(decision.why.length > 0);
    assert.equal(lookUp(block(), curve).kind, 'not-listed');
    assert.equal(lookUp({ ...block(), isWhole: false }, curve).kind, 'silent');
  });
});

describe('a first key', () => {
  test('needs the console', () => {
    assert.deepEqual(decide(key, here, nothing, notAsked), { outcome: 'ask-console' });
  });

  test('that was refused before stays blocked, with every answer of AWS', () => {
    const before: Known = { pins: [], refused: [refused(other), refused(key, 'i-1')] };
    for (const console of [notAsked, silent, shows(key), shows(other)]) {
      assert.equal(decide(key, here, before, console).outcome, 'refused-before');
    }
    assert.equal(decide(key, {}, before, silent).outcome, 'refused-before');
    assert.equal(decide(key, here, { pins: [], refused: [refused(key)] }, silent).outcome, 'refused-before');
    assert.equal(decide(key, { instance: 'i-2' }, before, silent).outcome, 'new');
    assert.equal(decide(ed25519Key(), here, before, silent).outcome, 'new');
  });

  test('that the console lists is accepted as verified', () => {
    assert.deepEqual(decide(key, here, nothing, shows(curve, key)), { outcome: 'new', evidence: 'console' });
  });

  test('that the console does not list is blocked, by another key of the type or by none', () => {
    for (const keys of [[other], [other, curve], [curve]]) {
      const decision = decide(key, here, nothing, shows(...keys));
      assert.deepEqual(decision, { outcome: 'unverified', shown: keys });
    }
  });

  test('is the first use where the console says nothing', () => {
    assert.deepEqual(decide(key, here, nothing, silent), { outcome: 'new', evidence: 'first-use' });
  });

  test('is the first use where a damaged block has no key of its type, and blocked where it has another', () => {
    assert.deepEqual(decide(key, here, nothing, damaged(curve)), { outcome: 'new', evidence: 'first-use' });
    assert.deepEqual(decide(key, here, nothing, damaged(key)), { outcome: 'new', evidence: 'console' });
    for (const keys of [[other], [curve, other]])
      assert.equal(decide(key, here, nothing, damaged(...keys)).outcome, 'unverified');
  });
});

describe('a console that contradicts a pin of first use', () => {
  for (const evidence of ['first-use', undefined] as const) {
    test(`blocks every key of the VM, the pinned and the listed one too: ${evidence ?? 'pinned by Mint'}`, () => {
      const pin = pinned(key, evidence);
      for (const presented of [key, other, curve]) {
        for (const console of [shows(other), shows(other, curve), shows(curve)]) {
          const decision = decide(presented, here, known(pin), console);
          assert.ok(decision.outcome === 'contradicted');
          assert.equal(decision.pin, pin);
        }
      }
    });
  }

  test('says nothing against a key that the user accepted, a job brought or the pinned host proved', () => {
    for (const evidence of ['accepted', 'job', 'proved', 'console'] as const) {
      assert.equal(decide(key, here, known(pinned(key, evidence)), shows(other)).outcome, 'pinned');
    }
  });

  test('has to be of the instance that the key was pinned on', () => {
    for (const instance of ['i-2', undefined]) {
      const pin = { ...pinned(key, 'first-use'), instance };
      assert.equal(decide(key, here, known(pin), shows(other)).outcome, 'pinned');
    }
  });

  test('says nothing against a key that it lists, or that is in the part that cannot be read', () => {
    for (const evidence of ['first-use', undefined] as const) {
      const pin = pinned(key, evidence);
      for (const console of [shows(key), shows(curve, key), damaged(curve), damaged(key)])
        assert.deepEqual(decide(key, here, known(pin), console), { outcome: 'pinned', pin });
      assert.equal(decide(key, here, known(pin), damaged(other)).outcome, 'contradicted');
      const mints: Pin = { fingerprint: key.fingerprint, instance: 'i-1', evidence };
      assert.equal(decide(key, here, known(mints), damaged(curve)).outcome, 'pinned');
      assert.equal(decide(key, here, known(mints), damaged(other)).outcome, 'contradicted');
    }
  });
});

describe('two places', () => {
  test('are another instance only where both are known and differ', () => {
    assert.ok(isAnotherInstance({ instance: 'i-1' }, { instance: 'i-2' }));
    for (const [one, other] of [
      [{ instance: 'i-1' }, { instance: 'i-1' }],
      [{ instance: 'i-1' }, {}],
      [{}, { instance: 'i-1' }],
      [{}, {}],
    ] as const)
      assert.ok(!isAnotherInstance(one, other));
  });

  test('are elsewhere where an account or a region is known of both and differs', () => {
    const place = { account: '1', region: 'r', instance: 'i-1' };
    assert.ok(isElsewhere(place, { ...place, account: '2' }));
    assert.ok(isElsewhere(place, { ...place, region: 's' }));
    assert.ok(isElsewhere({ account: '1' }, { account: '2', region: 'r' }));
    for (const other of [place, { ...place, instance: 'i-2' }, {}, { account: '1' }, { region: 'r' }]) {
      assert.ok(!isElsewhere(place, other));
      assert.ok(!isElsewhere(other, place));
    }
  });

  test('are merged by the parts that are known', () => {
    assert.deepEqual(knownPart({ instance: 'i-1', account: undefined }), { instance: 'i-1' });
    assert.deepEqual(knownPart({ account: '1', region: 'r' }), { account: '1', region: 'r' });
    assert.deepEqual(Object.keys(knownPart({})), []);
  });
});
