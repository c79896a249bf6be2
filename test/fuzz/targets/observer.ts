/** The key exchange observer, told a conversation of both sides. */
import assert from 'node:assert/strict';
import { type ClientEvent, KeyExchangeObserver, type ServerEvent } from '../../../src/ssh/observer.ts';
import { encodeUint32 } from '../../../src/ssh/wire.ts';
import { debug, disconnect, group, ignore, init, kexInit, newKeys, reply } from '../../ssh/packets.ts';
import { readRecordings } from '../../ssh/recording.ts';
import { banners, gex, groupExchange, plainExchange, type Turn } from '../../ssh/transcript.ts';
import { ecdsaBlob, ed25519Blob, rsaBlob } from '../material.ts';
import { inPieces } from '../pieces.ts';
import { attempt, Refusal, type Target } from '../target.ts';

/** An input is turn after turn: a byte whose last bit is the side, two bytes of length, the bytes. */
export function encodeTurns(turns: readonly Turn[]): Buffer {
  return Buffer.concat(
    turns.flatMap(({ side, bytes }) => {
      const header = Buffer.from([side === 'server' ? 1 : 0, bytes.length >> 8, bytes.length & 0xff]);
      return [header, bytes];
    }),
  );
}

function decodeTurns(input: Buffer): Turn[] {
  const turns: Turn[] = [];
  for (let at = 0; at + 3 <= input.length; ) {
    const length = input.readUInt16BE(at + 1);
    const side = (input.readUInt8(at) & 1) === 1 ? 'server' : 'client';
    turns.push({ side, bytes: input.subarray(at + 3, at + 3 + length) });
    at += 3 + length;
  }
  return turns;
}

interface Told {
  readonly events: readonly { readonly side: Turn['side']; readonly event: ServerEvent | ClientEvent }[];
  readonly refusal: Refusal | undefined;
}

function tell(turns: readonly Turn[]): Told {
  const observer = new KeyExchangeObserver();
  const events: { side: Turn['side']; event: ServerEvent | ClientEvent }[] = [];
  for (const { side, bytes } of turns) {
    const got = attempt(['not-ssh', 'host-key-type'], () => observer[side](bytes));
    if (got instanceof Refusal) return { events, refusal: got };
    events.push(...got.map((event) => ({ side, event })));
  }
  return { events, refusal: undefined };
}

function passed({ events }: Told, side: Turn['side']): Buffer {
  return Buffer.concat(events.filter((each) => each.side === side).map(({ event }) => event.bytes));
}

/** Recordings of every sort, without the long ones. */
function recorded(): Buffer[] {
  const all = readRecordings().map(({ turns }) => encodeTurns(turns));
  return all.filter(({ length }) => length < 6000);
}

export const observer: Target = {
  name: 'observer',
  seeds: () => [
    ...[ed25519Blob, ecdsaBlob, rsaBlob].map((blob) => encodeTurns(plainExchange(blob))),
    encodeTurns(groupExchange(ed25519Blob)),
    encodeTurns([...banners, { side: 'server', bytes: disconnect }]),
    ...recorded(),
  ],
  dictionary: [
    'SSH-2.0-x\r\n',
    'HTTP/1.1 400\r\n',
    '\r\n',
    ...[
      kexInit(),
      kexInit(gex),
      kexInit({ follows: true }),
      newKeys,
      init,
      group(),
      ignore,
      debug,
      disconnect,
    ],
    kexInit({ keyExchanges: 'curve25519-sha256,kex-strict-c-v00@openssh.com,kex-strict-s-v00@openssh.com' }),
    kexInit({ hostKeyAlgorithms: 'rsa-sha2-512' }),
    reply(ed25519Blob),
    reply(ed25519Blob, 33),
    reply(rsaBlob),
    encodeUint32(35_000),
    encodeUint32(34_996),
  ],
  longest: 40_000,
  run(input) {
    const turns = decodeTurns(input);
    const whole = tell(turns);
    const pieces = tell(
      turns.flatMap(({ side, bytes }) => inPieces(bytes).map((piece) => ({ side, bytes: piece }))),
    );
    assert.equal(pieces.refusal?.code, whole.refusal?.code);
    for (const side of ['server', 'client'] as const) {
      const said = Buffer.concat(turns.filter((turn) => turn.side === side).map(({ bytes }) => bytes));
      const [more, less] = [passed(pieces, side), passed(whole, side)];
      // No byte is lost, added or moved; bytes before a refusal in the same chunk are not returned.
      assert.ok(said.subarray(0, more.length).equals(more));
      assert.ok(more.subarray(0, less.length).equals(less));
      if (whole.refusal === undefined) assert.equal(more.length, less.length);
    }
    const kinds = whole.events.map(({ event }) => event.type).filter((type) => type !== 'pass');
    assert.ok(kinds.filter((type) => type === 'reply').length <= 1, 'two keys were reported');
    assert.ok(kinds[0] !== 'newkeys', 'NEWKEYS passed before a key was reported');
    return `${kinds.join(' ')} ${whole.refusal?.words ?? 'passed'}`;
  },
};
