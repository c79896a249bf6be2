/**
 * A server that wants the observer to see the pinned key and the client to take another one. Clients that
 * skip what they do not expect would fall for each of these; the observer must end them all.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type ClientEvent, KeyExchangeObserver, type ServerEvent } from '../../src/ssh/observer.ts';
import { encodeByte, encodeString, encodeUint32, WireReader } from '../../src/ssh/wire.ts';
import {
  disconnect,
  group,
  groupInit,
  groupRequest,
  ignore,
  init,
  kexInit,
  message,
  mpint,
  newHostKey,
  newKeys,
  prime,
  reply,
  serverBanner,
  signature,
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
const upTo = (count: number): Turn[] => exchange.slice(0, count);
const beforeKexInit = upTo(3);
const beforeInit = upTo(4);
const beforeReply = upTo(5);
const beforeNewKeys = upTo(6);
const grouped = groupExchange(pinned);
const beforeGroup = grouped.slice(0, 5);
const beforeGroupInit = grouped.slice(0, 6);
const beforeGroupReply = grouped.slice(0, 7);

/** Tells the turns, which must pass, and then one that must not. */
function refused(
  name: string,
  turns: readonly Turn[],
  last: Turn,
  code: 'not-ssh' | 'host-key-type' = 'not-ssh',
) {
  test(`${name} is refused`, () => {
    const { observer } = tell(turns);
    const say = (bytes: Buffer): unknown =>
      last.side === 'server' ? observer.server(bytes) : observer.client(bytes);
    assert.throws(() => say(last.bytes), refusal(code));
  });
  test(`${name} is refused byte by byte, before its last byte is passed`, () => {
    const { observer } = tell(turns);
    assert.throws(() => {
      for (let at = 0; at < last.bytes.length; at++) {
        const byte = last.bytes.subarray(at, at + 1);
        if (last.side === 'server') observer.server(byte);
        else observer.client(byte);
      }
    }, refusal(code));
  });
}

refused('a reply before the KEXINIT of the server', beforeKexInit, fromServer(reply(pinned)));
refused('a reply before any KEXINIT', banners, fromServer(reply(pinned)));
refused('a reply right behind the banner', [], fromServer(serverBanner, reply(pinned)));
refused('a reply before the client began', beforeInit, fromServer(reply(pinned)));
refused(
  'a reply before the KEXINIT of the client',
  [...banners, fromServer(kexInit())],
  fromServer(reply(pinned)),
);
refused('a second KEXINIT before the reply', beforeReply, fromServer(kexInit()));
refused('a second KEXINIT that would change the method', beforeReply, fromServer(kexInit(gex)));
refused('a second KEXINIT behind the reply', beforeNewKeys, fromServer(kexInit()));
refused('a second KEXINIT of the client', beforeReply, fromClient(kexInit()));
refused('a second reply with another key', beforeNewKeys, fromServer(reply(other)));
refused('a second reply in the same chunk', beforeReply, fromServer(reply(pinned), reply(other)));
refused('a 33 where a 31 is the reply', beforeReply, fromServer(reply(pinned, 33)));
refused('a 33 behind the reply', beforeNewKeys, fromServer(reply(other, 33)));
refused('NEWKEYS of the server before the reply', beforeReply, fromServer(newKeys));
refused('NEWKEYS of the server before the KEXINITs', banners, fromServer(newKeys));
refused('NEWKEYS of the client before the reply', beforeReply, fromClient(newKeys));
refused('NEWKEYS of the client before its KEX init', beforeInit, fromClient(newKeys));
refused('EXT_INFO before NEWKEYS', beforeNewKeys, fromServer(message(7, encodeUint32(0))));
refused('EXT_INFO before the reply', beforeReply, fromServer(message(7, encodeUint32(0))));
refused('a service message in clear', beforeNewKeys, fromServer(message(6, encodeString('ssh-userauth'))));
refused('message 0', beforeReply, fromServer(message(0)));
refused('message 255', beforeReply, fromServer(message(255)));
refused('a reply behind a disconnect message', beforeReply, fromServer(disconnect, reply(pinned)));
refused('an init of the server', beforeInit, fromServer(init));
refused('a second init of the client', beforeReply, fromClient(init));
refused('a request for a group where there is none', beforeInit, fromClient(groupRequest));

refused('in group exchange, a reply under 31', beforeGroup, fromServer(reply(pinned)));
refused('in group exchange, a second group', beforeGroupInit, fromServer(group()));
refused('in group exchange, a reply under 31 behind the group', beforeGroupInit, fromServer(reply(pinned)));
refused(
  'in group exchange, a reply before the client answered the group',
  beforeGroupInit,
  fromServer(reply(pinned, 33)),
);
refused('in group exchange, a reply instead of the group', beforeGroup, fromServer(reply(pinned, 33)));
refused('in group exchange, NEWKEYS behind the group', beforeGroupInit, fromServer(newKeys));
refused("in group exchange, a group behind the client's answer", beforeGroupReply, fromServer(group()));
refused(
  'in group exchange, a reply under 31 behind the reply',
  grouped.slice(0, 8),
  fromServer(reply(other)),
);
refused('in group exchange, NEWKEYS of the client before the reply', beforeGroupReply, fromClient(newKeys));
refused('in group exchange, a client that answers no group', beforeGroup, fromClient(groupInit));

const rsaBlob = Buffer.concat([
  encodeString('ssh-rsa'),
  mpint(Buffer.from([1, 0, 1])),
  mpint(Buffer.concat([prime(256)])),
]);
const two = mpint(Buffer.from([2]));
const groups: readonly [string, Buffer][] = [
  ['whose prime is the pinned key', group(encodeString(rsaBlob))],
  [
    'whose prime is a key and that has a signature behind it',
    message(31, encodeString(rsaBlob), two, encodeString(signature)),
  ],
  ['with something behind it', message(31, mpint(prime(256)), two, encodeByte(0))],
  ['that is cut short', message(31, mpint(prime(256)))],
  ['that is empty', message(31)],
  ['of 1016 bits', group(mpint(prime(127)))],
  ['of 8200 bits', group(mpint(prime(1025)))],
  ['whose prime is even', group(mpint(Buffer.concat([prime(255), Buffer.from([2])])))],
  ['whose prime is negative', group(encodeString(prime(256)))],
  ['whose generator is negative', group(mpint(prime(256)), encodeString(Buffer.from([0x80])))],
  ['whose generator is zero', group(mpint(prime(256)), encodeString(''))],
  ['whose generator is longer than its prime', group(mpint(prime(256)), mpint(prime(257)))],
];
for (const [what, bytes] of groups) refused(`a group ${what}`, beforeGroup, fromServer(bytes));

const strings = (...fields: Buffer[]): Buffer[] => fields.map((field) => encodeString(field));
const replies: readonly [string, Buffer][] = [
  [
    'with something behind its signature',
    message(31, ...strings(pinned, prime(32), signature), encodeByte(0)),
  ],
  ['without a signature', message(31, ...strings(pinned, prime(32)))],
  ['without anything', message(31)],
  ['with an empty key', message(31, ...strings(Buffer.alloc(0), prime(32), signature))],
  ['whose key is malformed', reply(Buffer.concat([pinned, Buffer.from([0])]))],
  ['whose key is of another type than was agreed on', reply(rsaBlob)],
  ['whose key is of no known type', reply(Buffer.concat(strings(Buffer.from('x'), prime(32))))],
];
for (const [what, bytes] of replies) refused(`a reply ${what}`, beforeReply, fromServer(bytes));

const strictClient = fromClient(kexInit({ keyExchanges: 'curve25519-sha256,kex-strict-c-v00@openssh.com' }));
const strictServer = fromServer(kexInit({ keyExchanges: 'curve25519-sha256,kex-strict-s-v00@openssh.com' }));
const strict = [...banners, strictClient, strictServer];
refused(
  'a stray before a KEXINIT that turns out strict',
  [...banners, fromServer(ignore), strictClient],
  strictServer,
);
refused('a stray between two strict KEXINITs', [...banners, strictServer, fromServer(ignore)], strictClient);
refused(
  'a stray of the client before a strict KEXINIT',
  [...banners, fromClient(ignore), strictClient],
  strictServer,
);
refused('a stray in a strict key exchange', strict, fromServer(ignore));
refused(
  'a stray behind a strict reply',
  [...strict, fromClient(init), fromServer(reply(pinned))],
  fromServer(ignore),
);
refused('a stray of the client in a strict key exchange', strict, fromClient(ignore));

const otherFirst = { keyExchanges: 'ecdh-sha2-nistp256,curve25519-sha256', follows: true };
for (const number of [31, 33, 21]) {
  refused(
    `a server's wrong guess under ${number}, which a client may not skip,`,
    [...banners, fromClient(kexInit()), fromServer(kexInit(otherFirst))],
    fromServer(reply(pinned, number)),
  );
  refused(
    `a server's guess under ${number} before the client's KEXINIT`,
    [...banners, fromServer(kexInit(otherFirst))],
    fromServer(reply(pinned, number)),
  );
}
refused(
  "a server's guess that turns out right, and which nothing expects,",
  [...banners, fromServer(kexInit({ follows: true })), fromServer(message(30, encodeString('guess')))],
  fromClient(kexInit()),
);
refused(
  'a second guess',
  [...banners, fromServer(kexInit(otherFirst)), fromServer(message(30, encodeString('guess')))],
  fromServer(message(30, encodeString('guess'))),
);
refused(
  "a reply to a client's wrong guess",
  [...banners, fromServer(kexInit()), fromClient(kexInit({ ...otherFirst }), init)],
  fromServer(reply(pinned)),
);
refused(
  "a client's KEX init that it did not announce",
  [...banners, fromClient(kexInit())],
  fromClient(init),
);

const nothingInCommon = [
  ...banners,
  fromClient(kexInit()),
  fromServer(kexInit({ keyExchanges: 'ecdh-sha2-nistp256' })),
];
for (const bytes of [reply(pinned), reply(pinned, 33), newKeys, kexInit()])
  refused(`message ${bytes[5]} where nothing was agreed on`, nothingInCommon, fromServer(bytes));

for (const name of [
  'rsa2048-sha256',
  'rsa1024-sha1',
  'gss-gex-sha1-toWM5Slw5Ew8Mqkay+al2g==',
  'gss-curve25519-sha256-toWM5Slw5Ew8Mqkay+al2g==',
  'ext-info-c',
  'new-kex@example.com',
]) {
  test(`the key exchange ${name} is refused by name`, () => {
    const both = { keyExchanges: name };
    const named = refusal('not-ssh', { message: new RegExp(name.replace(/[+]/g, '\\+')) });
    assert.throws(() => tell([...banners, fromClient(kexInit(both)), fromServer(kexInit(both))]), named);
    assert.throws(() => tell([...banners, fromServer(kexInit(both)), fromClient(kexInit(both))]), named);
  });
}

for (const name of [
  'ssh-ed25519-cert-v01@openssh.com',
  'rsa-sha2-512-cert-v01@openssh.com',
  'ecdsa-sha2-nistp256-cert-v01@openssh.com',
  'sk-ssh-ed25519@openssh.com',
  'ssh-dss',
  'ssh-rsa',
]) {
  test(`the host key algorithm ${name} is refused by name`, () => {
    const both = { hostKeyAlgorithms: name };
    assert.throws(
      () => tell([...banners, fromClient(kexInit(both)), fromServer(kexInit(both))]),
      refusal('host-key-type', { message: new RegExp(name) }),
    );
  });
}

test('the names that a server sends are short and printable in what is said of them', () => {
  const both = { keyExchanges: 'x'.repeat(10_000) };
  assert.throws(
    () => tell([...banners, fromClient(kexInit(both)), fromServer(kexInit(both))]),
    refusal('not-ssh', { message: /^.{0,200}$/ }),
  );
});

for (const length of [0, 1, 35_001, 35_004, 0x7fffffff, 0xffffffff])
  refused(`a packet of length ${length}`, beforeReply, fromServer(encodeUint32(length), reply(pinned)));

test('a truncated packet is held, not passed', () => {
  const { observer } = tell(beforeReply);
  assert.deepEqual(observer.server(reply(pinned).subarray(0, -1)), []);
});

/** What a client could take a key from, whatever it skips: any packet in clear that reads as a reply. */
function readsAsReply(bytes: Buffer): boolean {
  if (bytes[5] !== 31 && bytes[5] !== 33) return false;
  try {
    const reader = new WireReader(bytes.subarray(6));
    return new WireReader(reader.string()).text() === 'ssh-ed25519';
  } catch {
    return false;
  }
}

test('whatever a server says, in whatever order, no key passes but the one reported', () => {
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

test('random bytes behind the banner never pass and never hang', () => {
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

test('random fields in a reply are refused', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 100 }), { maxLength: 4 }), (fields) => {
      const { observer } = tell(beforeReply);
      assert.throws(
        () => observer.server(message(31, ...fields.map((field) => encodeString(field)))),
        refusal('not-ssh'),
      );
    }),
  );
});

test('a server that never ends a packet costs no more than one packet of memory, byte by byte too', () => {
  const { observer } = tell(beforeReply);
  const begin = performance.now();
  const endless = Buffer.concat([encodeUint32(34_996), Buffer.alloc(34_995, 4)]);
  for (let at = 0; at < endless.length; at++)
    assert.deepEqual(observer.server(endless.subarray(at, at + 1)), []);
  assert.ok(performance.now() - begin < 2000);
});
