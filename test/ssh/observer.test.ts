import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KeyExchangeObserver } from '../../src/ssh/observer.ts';
import { encodeString } from '../../src/ssh/wire.ts';
import {
  clientBanner,
  debug,
  disconnect,
  groupRequest,
  ignore,
  init,
  kexInit,
  message,
  newHostKey,
  newKeys,
  oldGroupRequest,
  reply,
  serverBanner,
  signature,
  unimplemented,
} from './packets.ts';
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

test('reports the reply with host key, signature and agreed algorithms', () => {
  const told = tell(plainExchange(pinned));
  assert.deepEqual(replyOf(told), {
    type: 'reply',
    bytes: reply(pinned),
    hostKey: pinned,
    signature,
    keyExchange: 'curve25519-sha256',
    hostKeyAlgorithm: 'ssh-ed25519',
  });
});

test("reports the client's NEWKEYS as an event; after its NEWKEYS each side is opaque", () => {
  const turns = plainExchange(pinned);
  const observer = new KeyExchangeObserver();
  tell(turns.slice(0, -2), observer);
  assert.equal(observer.serverOpaque, false);
  observer.server(newKeys);
  assert.equal(observer.serverOpaque, true);
  assert.equal(observer.clientOpaque, false);
  const secret = Buffer.from('sealed');
  assert.deepEqual(observer.client(Buffer.concat([newKeys, secret])), [
    { type: 'newkeys', bytes: newKeys },
    { type: 'pass', bytes: secret },
  ]);
  assert.equal(observer.clientOpaque, true);
});

test('returns chunks after NEWKEYS unchanged, as the same buffer', () => {
  const { observer } = tell(plainExchange(pinned));
  const chunk = Buffer.alloc(100_000, 1);
  assert.equal(observer.server(chunk)[0]?.bytes, chunk);
  assert.equal(observer.client(chunk)[0]?.bytes, chunk);
});

test('accepts reply, NEWKEYS and encrypted bytes in one chunk', () => {
  const turns = plainExchange(pinned).slice(0, 5);
  const sealed = Buffer.alloc(64, 0xaa);
  const told = tell([...turns, fromServer(reply(pinned), newKeys, sealed), fromClient(newKeys, sealed)]);
  assert.deepEqual(
    told.server.slice(-3).map(({ type }) => type),
    ['reply', 'pass', 'pass'],
  );
  assert.equal(replyOf(told).hostKey.equals(pinned), true);
});

test('accepts in one chunk everything that a side can send without an answer', () => {
  const told = tell([
    fromClient(clientBanner, kexInit()),
    fromServer(Buffer.from('hello\r\n'), serverBanner, kexInit()),
    ...plainExchange(pinned).slice(4),
  ]);
  assert.deepEqual(replyOf(told).hostKey, pinned);
});

test("passes the server's KEXINIT before the client has sent anything", () => {
  tell([fromServer(serverBanner, kexInit()), fromClient(clientBanner), fromClient(kexInit())]);
});

test('returns only complete lines and packets', () => {
  const observer = new KeyExchangeObserver();
  assert.deepEqual(observer.server(serverBanner.subarray(0, 5)), []);
  assert.deepEqual(observer.server(Buffer.concat([serverBanner.subarray(5), kexInit().subarray(0, 20)])), [
    { type: 'pass', bytes: serverBanner },
  ]);
  assert.deepEqual(observer.server(kexInit().subarray(20)), [{ type: 'pass', bytes: kexInit() }]);
});

test('keeps the last line before the SSH- line for the error message', () => {
  const observer = new KeyExchangeObserver();
  assert.deepEqual(observer.server(Buffer.from('Exceeded MaxStartups\r\n')), []);
  assert.equal(observer.serverBannerSeen, false);
  assert.equal(observer.serverNotice, 'Exceeded MaxStartups');
  observer.server(serverBanner);
  assert.equal(observer.serverBannerSeen, true);
  assert.equal(observer.serverNotice, undefined);
});

test('copies host key and signature out of their chunk', () => {
  const { observer } = tell(plainExchange(pinned).slice(0, 5));
  const chunk = reply(pinned);
  const [event] = observer.server(chunk);
  chunk.fill(0);
  assert.ok(event?.type === 'reply');
  assert.deepEqual(event.hostKey, pinned);
  assert.deepEqual(event.signature, signature);
});

for (const [form, request] of [
  ['new', groupRequest],
  ['old', oldGroupRequest],
] as const) {
  test(`in a group exchange of the ${form} form the reply is 33, and 31 is the group`, () => {
    const told = tell(groupExchange(pinned, request));
    assert.deepEqual(replyOf(told).bytes, reply(pinned, 33));
    assert.equal(replyOf(told).keyExchange, 'diffie-hellman-group-exchange-sha256');
  });
}

test('passes ignore, debug and unimplemented messages anywhere', () => {
  const stray = Buffer.concat([ignore, debug, unimplemented]);
  const turns = plainExchange(pinned);
  const told = tell([
    ...turns.slice(0, 2),
    ...turns.slice(2).flatMap((turn) => [{ side: turn.side, bytes: stray }, turn]),
  ]);
  assert.deepEqual(replyOf(told).hostKey, pinned);
});

test('passes a strict key exchange without extra messages', () => {
  const [serverLine, clientLine, , , ...rest] = plainExchange(pinned);
  assert.ok(serverLine && clientLine);
  const told = tell([
    serverLine,
    clientLine,
    fromClient(kexInit({ keyExchanges: 'curve25519-sha256,ext-info-c,kex-strict-c-v00@openssh.com' })),
    fromServer(kexInit({ keyExchanges: 'curve25519-sha256,kex-strict-s-v00@openssh.com' })),
    ...rest,
  ]);
  assert.deepEqual(replyOf(told).hostKey, pinned);
});

test('passes a disconnect message at any time, also in a strict key exchange', () => {
  const turns = plainExchange(pinned);
  for (let at = 2; at < 7; at++) {
    tell([...turns.slice(0, at), fromServer(disconnect)]);
    tell([...turns.slice(0, at), fromClient(disconnect)]);
  }
  tell([
    ...banners,
    fromClient(kexInit({ keyExchanges: 'curve25519-sha256,kex-strict-c-v00@openssh.com' })),
    fromServer(kexInit({ keyExchanges: 'curve25519-sha256,kex-strict-s-v00@openssh.com' })),
    fromServer(disconnect),
  ]);
});

const guessing = { keyExchanges: 'curve25519-sha256,ecdh-sha2-nistp256', follows: true };
const otherFirst = { keyExchanges: 'ecdh-sha2-nistp256,curve25519-sha256' };
const wrongInit = message(30, encodeString(Buffer.alloc(65, 4)));

for (const [when, order] of [
  ['before', [0, 1, 2]],
  ['after', [2, 0, 1]],
  ['around', [0, 2, 1]],
] as const) {
  test(`a right guess of the client that passes ${when} the server's KEXINIT counts`, () => {
    const parts = [fromClient(kexInit(guessing)), fromClient(init), fromServer(kexInit())];
    const told = tell([
      ...banners,
      ...order.flatMap((at) => parts[at] ?? []),
      fromServer(reply(pinned), newKeys),
      fromClient(newKeys),
    ]);
    assert.deepEqual(replyOf(told).hostKey, pinned);
  });

  test(`a wrong guess of the client that passes ${when} the server's KEXINIT is skipped`, () => {
    const parts = [fromClient(kexInit(guessing)), fromClient(wrongInit), fromServer(kexInit(otherFirst))];
    const told = tell([
      ...banners,
      ...order.flatMap((at) => parts[at] ?? []),
      fromClient(ignore),
      fromClient(init),
      fromServer(reply(pinned), newKeys),
      fromClient(newKeys),
    ]);
    assert.deepEqual(replyOf(told).hostKey, pinned);
  });
}

test('skips a wrong guess of the client under the number of a reply, which only a server sends', () => {
  for (const number of [31, 33]) {
    const told = tell([
      ...banners,
      fromClient(kexInit(guessing), message(number, encodeString('guess'))),
      fromServer(kexInit(otherFirst)),
      fromClient(init),
      fromServer(reply(pinned), newKeys),
      fromClient(newKeys),
    ]);
    assert.deepEqual(replyOf(told).hostKey, pinned);
  }
});

test('takes a right guess in group exchange as the request', () => {
  const gexFirst = { keyExchanges: 'diffie-hellman-group-exchange-sha256', follows: true };
  const turns = groupExchange(pinned);
  const told = tell([
    ...banners,
    fromClient(kexInit(gexFirst), groupRequest),
    ...turns.slice(3, 4),
    ...turns.slice(5),
  ]);
  assert.deepEqual(replyOf(told).hostKey, pinned);
});

test('skips a wrong guess of the server', () => {
  const told = tell([
    ...banners,
    fromClient(kexInit()),
    fromServer(kexInit({ ...otherFirst, follows: true }), message(30, encodeString('guess'))),
    fromClient(init),
    fromServer(reply(pinned), newKeys),
  ]);
  assert.deepEqual(replyOf(told).hostKey, pinned);
});

for (const [what, ours, theirs] of [
  ['key exchange', { keyExchanges: 'curve25519-sha256' }, { keyExchanges: 'ecdh-sha2-nistp256' }],
  ['host key algorithm', { hostKeyAlgorithms: 'ssh-ed25519' }, { hostKeyAlgorithms: 'rsa-sha2-256' }],
] as const) {
  test(`lets two sides without a common ${what} end the connection`, () => {
    tell([
      ...banners,
      fromClient(kexInit(ours)),
      fromServer(kexInit(theirs)),
      fromServer(ignore, disconnect),
      fromClient(disconnect),
    ]);
  });
}
