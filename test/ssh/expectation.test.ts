/** The contents of key exchange messages, and unsupported methods. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Expectation } from '../../src/ssh/expectation.ts';
import { encodeByte, encodeString, encodeUint32 } from '../../src/ssh/wire.ts';
import { fc } from '../property.ts';
import { group, ignore, kexInit, message, mpint, newHostKey, prime, reply, signature } from './packets.ts';
import { refusal } from './refusal.ts';
import { refused } from './refused.ts';
import {
  banners,
  fromClient,
  fromServer,
  groupExchange,
  plainExchange,
  replyOf,
  tell,
} from './transcript.ts';

const pinned = newHostKey().blob;
const beforeReply = plainExchange(pinned).slice(0, 5);
const beforeGroup = groupExchange(pinned).slice(0, 5);

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

for (const name of [
  'curve25519-sha256',
  'curve25519-sha256@libssh.org',
  'curve448-sha512',
  'ecdh-sha2-nistp256',
  'ecdh-sha2-nistp384',
  'ecdh-sha2-nistp521',
  'sntrup761x25519-sha512',
  'sntrup761x25519-sha512@openssh.com',
  'mlkem768x25519-sha256',
  'mlkem768nistp256-sha256',
  'mlkem1024nistp384-sha384',
  'diffie-hellman-group1-sha1',
  'diffie-hellman-group14-sha1',
  'diffie-hellman-group14-sha256',
  'diffie-hellman-group15-sha512',
  'diffie-hellman-group16-sha512',
  'diffie-hellman-group17-sha512',
  'diffie-hellman-group18-sha512',
  'diffie-hellman-group-exchange-sha1',
  'diffie-hellman-group-exchange-sha256',
]) {
  test(`the key exchange ${name} passes, and the reply names it`, () => {
    const turns = name.includes('group-exchange') ? groupExchange(pinned) : plainExchange(pinned);
    const both = kexInit({ keyExchanges: name });
    const told = tell([...turns.slice(0, 2), fromClient(both), fromServer(both), ...turns.slice(4)]);
    assert.equal(replyOf(told).keyExchange, name);
  });
}

test('a packet that trust does not depend on is plain', () => {
  const expectation = new Expectation();
  assert.deepEqual(expectation.judge('server', { bytes: ignore, type: 2, body: ignore.subarray(6) }), {
    type: 'plain',
  });
});

for (const bytes of [128, 1024]) {
  test(`a group of ${bytes * 8} bits passes`, () => {
    const turns = groupExchange(pinned);
    const told = tell([...turns.slice(0, 5), fromServer(group(mpint(prime(bytes)))), ...turns.slice(6)]);
    assert.deepEqual(replyOf(told).hostKey, pinned);
  });
}

test('a generator as long as the prime passes', () => {
  const turns = groupExchange(pinned);
  const wide = group(mpint(prime(256)), mpint(prime(256)));
  tell([...turns.slice(0, 5), fromServer(wide), ...turns.slice(6)]);
});

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

test('shortens and escapes names from the server in messages', () => {
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
