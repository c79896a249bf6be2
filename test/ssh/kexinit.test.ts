import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type KexInit, negotiate, parseKexInit } from '../../src/ssh/kexinit.ts';
import { PacketReader } from '../../src/ssh/packet.ts';
import { kexInit } from './packets.ts';
import { refusal } from './refusal.ts';

const bodyOf = (bytes: Buffer): Buffer => new PacketReader().next(bytes).packet?.body ?? Buffer.alloc(0);

function offer(keyExchanges: string, hostKeyAlgorithms = 'ssh-ed25519'): KexInit {
  return parseKexInit(bodyOf(kexInit({ keyExchanges, hostKeyAlgorithms })));
}

test('reads the algorithms of a KEXINIT in order of preference', () => {
  assert.deepEqual(
    parseKexInit(bodyOf(kexInit({ keyExchanges: 'a,b', hostKeyAlgorithms: 'c,d', follows: true }))),
    { keyExchanges: ['a', 'b'], hostKeyAlgorithms: ['c', 'd'], firstPacketFollows: true },
  );
});

test('refuses a KEXINIT that is truncated anywhere or has a trailing byte', () => {
  const body = bodyOf(kexInit());
  for (let length = 0; length < body.length; length++)
    assert.throws(() => parseKexInit(body.subarray(0, length)), refusal('not-ssh'));
  assert.throws(() => parseKexInit(Buffer.concat([body, Buffer.from([0])])), refusal('not-ssh'));
});

test('refuses a KEXINIT with names that are not printable', () => {
  for (const name of ['a\0b', 'a b', 'ä', 'a,,b', ',a', 'a,', 'a\nb'])
    assert.throws(() => offer(name), refusal('not-ssh'));
});

test("chooses the client's first algorithm that the server supports", () => {
  const { keyExchange, hostKeyAlgorithm } = negotiate(offer('a,b,c', 'x,y'), offer('c,b', 'y,z'));
  assert.equal(keyExchange, 'b');
  assert.equal(hostKeyAlgorithm, 'y');
});

test('agrees on nothing without a common algorithm', () => {
  assert.equal(negotiate(offer('a'), offer('b')).keyExchange, undefined);
  assert.equal(negotiate(offer('a', 'x'), offer('a', 'y')).hostKeyAlgorithm, undefined);
  assert.equal(negotiate(offer(''), offer('')).keyExchange, undefined);
});

test('a guess is right if both sides prefer the same key exchange and host key', () => {
  assert.equal(negotiate(offer('a,b', 'x'), offer('a', 'x,y')).guessedRight, true);
  assert.equal(negotiate(offer('a,b'), offer('b,a')).guessedRight, false);
  assert.equal(negotiate(offer('a', 'x,y'), offer('a', 'y,x')).guessedRight, false);
});

test("with dropbear's kexguess2 a guess is right if the client's first choices are agreed on", () => {
  const extension = 'kexguess2@matt.ucc.asn.au';
  const client = offer(`a,b,${extension}`, 'x,y');
  assert.equal(negotiate(client, offer(`b,a,${extension}`, 'y,x')).guessedRight, true);
  assert.equal(negotiate(client, offer(`b,${extension}`, 'y,x')).guessedRight, false);
  assert.equal(negotiate(client, offer(`b,a,${extension}`, 'y')).guessedRight, false);
  assert.equal(negotiate(client, offer('b,a', 'y,x')).guessedRight, false);
});

test('the exchange is strict if each side announces it', () => {
  const client = 'kex-strict-c-v00@openssh.com';
  const server = 'kex-strict-s-v00@openssh.com';
  assert.equal(negotiate(offer(`a,${client}`), offer(`a,${server}`)).strict, true);
  assert.equal(negotiate(offer(`a,${client}`), offer('a')).strict, false);
  assert.equal(negotiate(offer('a'), offer(`a,${server}`)).strict, false);
  assert.equal(negotiate(offer(`a,${server}`), offer(`a,${client}`)).strict, false);
});
