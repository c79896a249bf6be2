import assert from 'node:assert/strict';
import { test } from 'node:test';
import { disconnectPacket, type Packet, PacketReader } from '../../src/ssh/packet.ts';
import { encodeByte, encodeUint32, WireReader } from '../../src/ssh/wire.ts';
import { fc } from '../property.ts';
import { packet } from './packets.ts';
import { refusal } from './refusal.ts';

function readAll(reader: PacketReader, chunk: Buffer): Packet[] {
  const packets: Packet[] = [];
  for (let rest = chunk; rest.length > 0; ) {
    const next = reader.next(rest);
    if (next.packet !== undefined) packets.push(next.packet);
    rest = next.rest;
  }
  return packets;
}

test('splits a packet into its number and its body', () => {
  const bytes = packet(Buffer.from([42]), Buffer.from('body'));
  const { packet: read, rest } = new PacketReader().next(Buffer.concat([bytes, Buffer.from('rest')]));
  assert.deepEqual(read, { bytes, type: 42, body: Buffer.from('body') });
  assert.equal(rest.toString(), 'rest');
});

test('does not copy a complete packet', () => {
  const chunk = packet(Buffer.from([42]));
  const { packet: read } = new PacketReader().next(chunk);
  assert.equal(read?.bytes.buffer, chunk.buffer);
});

test('returns the same packets for every split of the stream', () => {
  const bodies = fc.array(fc.uint8Array({ maxLength: 400 }), { minLength: 1, maxLength: 10 });
  fc.assert(
    fc.property(bodies, fc.array(fc.integer({ min: 1, max: 100 }), { minLength: 1 }), (contents, cuts) => {
      const sent = contents.map((content) => packet(Buffer.from([20]), Buffer.from(content)));
      const stream = Buffer.concat(sent);
      const reader = new PacketReader();
      const received: Packet[] = [];
      for (let at = 0, cut = 0; at < stream.length; cut++) {
        const size = cuts[cut % cuts.length] ?? 1;
        const chunk = Buffer.from(stream.subarray(at, at + size));
        const read = readAll(reader, chunk);
        received.push(
          ...read.map(({ bytes, type, body }) => ({
            bytes: Buffer.from(bytes),
            type,
            body: Buffer.from(body),
          })),
        );
        // The reader must not keep a reference to a chunk.
        chunk.fill(0xee);
        at += size;
      }
      assert.deepEqual(
        received.map(({ bytes }) => bytes),
        sent,
      );
      assert.deepEqual(
        received.map(({ body }) => body),
        contents.map((content) => Buffer.from(content)),
      );
    }),
  );
});

const lengths: readonly [string, number][] = [
  ['0', 0],
  ['1', 1],
  ['4, which leaves nothing for a number', 4],
  ['13, which is not a multiple of eight with its own four bytes', 13],
  ['35,001', 35_001],
  ['35,004, the next one that is a multiple of eight', 35_004],
  ['0x7fffffff', 0x7fffffff],
  ['0xfffffffc', 0xfffffffc],
  ['0xffffffff', 0xffffffff],
];
for (const [what, length] of lengths) {
  test(`a packet of length ${what} is refused at its fourth byte`, () => {
    assert.throws(() => new PacketReader().next(encodeUint32(length)), refusal('not-ssh'));
    const reader = new PacketReader();
    const header = encodeUint32(length);
    for (let at = 0; at < 3; at++) assert.equal(reader.next(header.subarray(at, at + 1)).packet, undefined);
    assert.throws(() => reader.next(header.subarray(3)), refusal('not-ssh'));
  });
}

test('accepts packets of up to 34,996 bytes after the length', () => {
  const bytes = Buffer.concat([encodeUint32(34_996), encodeByte(4), Buffer.alloc(34_995, 2)]);
  assert.equal(new PacketReader().next(bytes).packet?.bytes.length, 35_000);
});

for (const padding of [0, 3, 11, 12, 255]) {
  test(`a packet of sixteen bytes with ${padding} bytes of padding is refused`, () => {
    const bytes = Buffer.concat([encodeUint32(12), encodeByte(padding), Buffer.alloc(11, 20)]);
    assert.throws(() => new PacketReader().next(bytes), refusal('not-ssh'));
  });
}

test('accepts a packet of only a number and padding', () => {
  const bytes = Buffer.concat([encodeUint32(12), encodeByte(10), encodeByte(21), Buffer.alloc(10)]);
  assert.deepEqual(new PacketReader().next(bytes).packet, { bytes, type: 21, body: Buffer.alloc(0) });
});

test('waits for the rest of a truncated packet', () => {
  const bytes = packet(Buffer.from([20]), Buffer.alloc(100));
  for (let length = 0; length < bytes.length; length++)
    assert.equal(new PacketReader().next(bytes.subarray(0, length)).packet, undefined);
});

test('a disconnect message is a packet of whole blocks, for any length of its text', () => {
  for (let length = 0; length < 40; length += 1) {
    const bytes = disconnectPacket('x'.repeat(length));
    const { packet, rest } = new PacketReader().next(bytes);
    assert.equal(rest.length, 0);
    assert.equal(packet?.type, 1);
    const body = new WireReader(packet.body);
    assert.deepEqual(
      [body.uint32(), body.text(), body.text(), body.remaining],
      [9, 'x'.repeat(length), '', 0],
    );
  }
});
