/** A server that sends any messages in any order. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type ClientEvent, KeyExchangeObserver, type ServerEvent } from '../../src/ssh/observer.ts';
import { encodeUint32, WireReader } from '../../src/ssh/wire.ts';
import { fc } from '../property.ts';
import {
  group,
  groupInit,
  groupRequest,
  ignore,
  init,
  kexInit,
  newHostKey,
  newKeys,
  reply,
} from './packets.ts';
import { refusal } from './refusal.ts';
import {
  banners,
  fromClient,
  fromServer,
  gex,
  groupExchange,
  plainExchange,
  type Turn,
  tell,
} from './transcript.ts';

const pinned = newHostKey().blob;
const other = newHostKey().blob;
const exchange = plainExchange(pinned);
const grouped = groupExchange(pinned);
const beforeReply = exchange.slice(0, 5);
const otherFirst = { keyExchanges: 'ecdh-sha2-nistp256,curve25519-sha256', follows: true };

/** Packets from which a client could take a key: all unencrypted ones that parse as a reply. */
function readsAsReply(bytes: Buffer): boolean {
  if (bytes[5] !== 31 && bytes[5] !== 33) return false;
  try {
    const reader = new WireReader(bytes.subarray(6));
    return new WireReader(reader.string()).text() === 'ssh-ed25519';
  } catch {
    return false;
  }
}

test('only the reported key passes, for any messages of a server in any order', () => {
  const alphabet: Turn[] = [
    ...[reply(pinned), reply(other), reply(pinned, 33), reply(other, 33), newKeys, ignore, group()].map(
      (bytes) => fromServer(bytes),
    ),
    ...[kexInit(), kexInit(gex), kexInit({ follows: true }), kexInit(otherFirst)].map((bytes) =>
      fromServer(bytes),
    ),
    ...[kexInit(), kexInit(gex), init, groupRequest, groupInit, newKeys].map((bytes) => fromClient(bytes)),
  ];
  const change = fc.record({
    at: fc.nat(12),
    remove: fc.nat(2),
    insert: fc.array(fc.constantFrom(...alphabet), { maxLength: 3 }),
  });
  const start = fc.constantFrom(exchange, grouped);
  fc.assert(
    fc.property(start, fc.array(change, { maxLength: 4 }), (from, changes) => {
      const turns = changes.reduce(
        (list, { at, remove, insert }) => list.toSpliced(2 + at, remove, ...insert),
        from,
      );
      check(turns);
    }),
    { numRuns: 5000 },
  );

  function check(turns: readonly Turn[]): void {
    const observer = new KeyExchangeObserver();
    let replies = 0;
    for (const { side, bytes } of turns) {
      const sealed = side === 'server' ? observer.serverOpaque : observer.clientOpaque;
      let events: readonly (ServerEvent | ClientEvent)[];
      try {
        events = side === 'server' ? observer.server(bytes) : observer.client(bytes);
      } catch (error) {
        refusal('not-ssh')(error);
        return;
      }
      for (const event of events) {
        if (event.type === 'reply') replies += 1;
        else if (side === 'server' && !sealed) assert.equal(readsAsReply(event.bytes), false);
        if (event.type === 'newkeys') assert.equal(replies, 1);
      }
      assert.ok(replies <= 1);
      if (observer.serverOpaque) assert.equal(replies, 1);
    }
  }
});

test('random bytes after the banner never pass and never hang', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 4, maxLength: 500 }), (bytes) => {
      const { observer } = tell([...banners, fromClient(kexInit())]);
      try {
        assert.deepEqual(observer.server(Buffer.from(bytes)), []);
      } catch (error) {
        refusal('not-ssh')(error);
      }
    }),
  );
});

test('a server that never ends a packet uses the memory of one packet at most, also byte by byte', () => {
  const { observer } = tell(beforeReply);
  const begin = performance.now();
  const endless = Buffer.concat([encodeUint32(34_996), Buffer.alloc(34_995, 4)]);
  for (let at = 0; at < endless.length; at++)
    assert.deepEqual(observer.server(endless.subarray(at, at + 1)), []);
  assert.ok(performance.now() - begin < 15_000);
});
