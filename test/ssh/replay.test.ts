/** Replays key exchanges between real programs, split in every way in which a network may deliver them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseHostKey } from '../../src/ssh/hostkey.ts';
import { type ClientEvent, KeyExchangeObserver, type ServerEvent } from '../../src/ssh/observer.ts';
import { WireReader } from '../../src/ssh/wire.ts';
import { fc } from '../property.ts';
import { behindNewKeys, type Recording, readRecordings, type Side, type Turn } from './recording.ts';
import { joined } from './transcript.ts';

const recordings = readRecordings();

function streamOf(turns: readonly Turn[], side: Side): Buffer {
  return Buffer.concat(turns.filter((turn) => turn.side === side).map(({ bytes }) => bytes));
}

/** Splits every turn into pieces of these lengths, repeatedly. */
function cut(turns: readonly Turn[], lengths: readonly number[]): Turn[] {
  const pieces: Turn[] = [];
  let count = 0;
  for (const { side, bytes } of turns) {
    for (let at = 0; at < bytes.length; count++) {
      const length = lengths[count % lengths.length] ?? 1;
      pieces.push({ side, bytes: bytes.subarray(at, at + length) });
      at += length;
    }
  }
  return pieces;
}

/** Joins consecutive turns of the same side, as a slow reader would get them. */
function join(turns: readonly Turn[]): Turn[] {
  const joinedTurns: Turn[] = [];
  for (const turn of turns) {
    const last = joinedTurns.at(-1);
    if (last?.side !== turn.side) joinedTurns.push(turn);
    else joinedTurns[joinedTurns.length - 1] = { ...last, bytes: Buffer.concat([last.bytes, turn.bytes]) };
  }
  return joinedTurns;
}

function replay(recording: Recording, turns: readonly Turn[]): void {
  const observer = new KeyExchangeObserver();
  const server: ServerEvent[] = [];
  const client: ClientEvent[] = [];
  const sealed = {
    server: behindNewKeys(streamOf(turns, 'server')) ?? assert.fail('the server sent no NEWKEYS'),
    client: behindNewKeys(streamOf(turns, 'client')) ?? assert.fail('the client sent no NEWKEYS'),
  };
  const told = { server: 0, client: 0 };
  for (const { side, bytes } of turns) {
    // Callers use one buffer for all reads, and write the returned bytes before they read again.
    const chunk = Buffer.from(bytes);
    const copy = <Event extends { bytes: Buffer }>(event: Event): Event => ({
      ...event,
      bytes: Buffer.from(event.bytes),
    });
    if (side === 'server') server.push(...observer.server(chunk).map(copy));
    else client.push(...observer.client(chunk).map(copy));
    chunk.fill(0xee);
    told[side] += bytes.length;
    assert.equal(observer.serverOpaque, told.server >= sealed.server);
    assert.equal(observer.clientOpaque, told.client >= sealed.client);
    const isJudged = server.some(({ type }) => type === 'reply');
    assert.ok(isJudged || !client.some(({ type }) => type === 'newkeys'), 'NEWKEYS came before the reply');
  }
  assert.deepEqual(joined(server), streamOf(turns, 'server'));
  assert.deepEqual(joined(client), streamOf(turns, 'client'));
  checkReply(recording, server);
  checkNewKeys(client, sealed.client);
}

function checkReply(recording: Recording, events: readonly ServerEvent[]): void {
  const [reply, ...more] = events.filter((event) => event.type === 'reply');
  assert.ok(reply !== undefined, 'no reply was reported');
  assert.equal(more.length, 0);
  assert.equal(reply.keyExchange, recording.keyExchange);
  assert.equal(reply.hostKeyAlgorithm, recording.hostKeyAlgorithm);
  assert.equal(parseHostKey(reply.hostKey).fingerprint, recording.fingerprint);
  assert.equal(new WireReader(reply.signature).text(), recording.hostKeyAlgorithm);
  assert.equal(reply.bytes[5], recording.keyExchange.includes('group-exchange') ? 33 : 31);
}

function checkNewKeys(events: readonly ClientEvent[], behind: number): void {
  const at = events.findIndex(({ type }) => type === 'newkeys');
  assert.equal(events[at]?.bytes[5], 21);
  assert.equal(joined(events.slice(0, at + 1)).length, behind);
  assert.equal(events.filter(({ type }) => type === 'newkeys').length, 1);
}

test('the recordings cover every key exchange, client and server', () => {
  const has = (pattern: RegExp) =>
    assert.ok(
      recordings.some(({ name }) => pattern.test(name)),
      String(pattern),
    );
  for (const method of [
    'curve25519-sha256',
    'sntrup761x25519-sha512',
    'mlkem768x25519-sha256',
    'ecdh-sha2-nistp256',
    'ecdh-sha2-nistp384',
    'ecdh-sha2-nistp521',
    'diffie-hellman-group14-sha256',
    'diffie-hellman-group16-sha512',
    'diffie-hellman-group18-sha512',
    'diffie-hellman-group-exchange-sha256',
  ])
    has(new RegExp(`_${method}_`));
  for (const client of ['openssh', 'dropbear', 'ssh2']) has(new RegExp(`^${client}_`));
  for (const server of ['openssh', 'dropbear', 'tinysshd', 'ssh2']) has(new RegExp(`^[^_]+_${server}_`));
  for (const type of ['ssh-ed25519', 'ecdsa-sha2-nistp256', 'rsa-sha2-512']) has(new RegExp(`_${type}`));
});

for (const recording of recordings) {
  const { name, turns } = recording;

  test(`${name} is followed as it was recorded`, () => {
    replay(recording, turns);
  });

  test(`${name} is followed in the largest pieces`, () => {
    replay(recording, join(turns));
  });

  test(`${name} is followed byte by byte`, () => {
    replay(recording, cut(turns, [1]));
  });

  test(`${name} is followed in random pieces`, () => {
    const size = fc.oneof(fc.integer({ min: 1, max: 8 }), fc.integer({ min: 1, max: 1500 }));
    fc.assert(
      fc.property(fc.array(size, { minLength: 1, maxLength: 50 }), (lengths) => {
        replay(recording, cut(turns, lengths));
      }),
      { numRuns: 20 },
    );
  });
}
