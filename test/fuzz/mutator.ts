/** Makes an input from another: what AFL calls havoc, with the fields and the words of SSH. */
import type { Random } from './random.ts';

export interface Material {
  readonly dictionary: readonly Buffer[];
  /** What else is in the corpus. */
  readonly others: readonly Buffer[];
  readonly longest: number;
}

type Change = (input: Buffer, random: Random, material: Material) => Buffer;

/** Lengths and numbers that parsers get wrong. */
const edges = [0, 1, 4, 5, 7, 8, 0x7f, 0x80, 0xff, 0x100, 35_000, 0xffff, 0x40000, 0x7fffffff, 0x80000000];

const changes: readonly Change[] = [
  flipBit,
  setByte,
  setByte,
  changeLength,
  changeLength,
  insertWord,
  insertWord,
  replaceByWord,
  repeatPart,
  dropPart,
  movePart,
  splice,
  cutShort,
];

/** One to four changes, one upon the other. */
export function mutate(input: Buffer, random: Random, material: Material): Buffer {
  let changed: Buffer = Buffer.from(input);
  for (let left = 1 << random.below(3); left > 0; left -= 1)
    changed = random.pick(changes)(changed, random, material);
  return changed.subarray(0, material.longest);
}

function flipBit(input: Buffer, random: Random): Buffer {
  if (input.length === 0) return input;
  const at = random.below(input.length);
  input.writeUInt8(input.readUInt8(at) ^ (1 << random.below(8)), at);
  return input;
}

function setByte(input: Buffer, random: Random): Buffer {
  if (input.length > 0) input.writeUInt8(random.below(256), random.below(input.length));
  return input;
}

/** A uint32 that could be the length of what follows it, else any four bytes. */
function changeLength(input: Buffer, random: Random): Buffer {
  if (input.length < 4) return input;
  const last = input.length - 4;
  const start = random.below(last + 1);
  let at = start;
  for (let step = 0; step <= last; step += 1) {
    const candidate = (start + step) % (last + 1);
    const value = input.readUInt32BE(candidate);
    if (value > 0 && value <= input.length - candidate - 4) {
      at = candidate;
      break;
    }
  }
  const value = input.readUInt32BE(at);
  const values = [value + 1, value - 1, value ^ 0x80000000, input.length - at - 4, random.pick(edges)];
  input.writeUInt32BE(random.pick(values) >>> 0, at);
  return input;
}

function insertWord(input: Buffer, random: Random, { dictionary }: Material): Buffer {
  if (dictionary.length === 0) return input;
  return replaced(input, random.below(input.length + 1), 0, random.pick(dictionary));
}

function replaceByWord(input: Buffer, random: Random, { dictionary }: Material): Buffer {
  if (dictionary.length === 0) return input;
  const word = random.pick(dictionary);
  return replaced(input, random.below(input.length + 1), word.length, word);
}

function repeatPart(input: Buffer, random: Random): Buffer {
  const [start, length] = part(input, random);
  const times = 1 + random.below(random.below(8) === 0 ? 64 : 4);
  const piece = input.subarray(start, start + length);
  return replaced(input, start, 0, Buffer.concat(Array<Buffer>(times).fill(piece)));
}

function dropPart(input: Buffer, random: Random): Buffer {
  const [start, length] = part(input, random);
  return replaced(input, start, length, Buffer.alloc(0));
}

function movePart(input: Buffer, random: Random): Buffer {
  const [start, length] = part(input, random);
  const piece = Buffer.from(input.subarray(start, start + length));
  const rest = replaced(input, start, length, Buffer.alloc(0));
  return replaced(rest, random.below(rest.length + 1), 0, piece);
}

/** The beginning of this one and the end of another, or a part of another in its middle. */
function splice(input: Buffer, random: Random, { others }: Material): Buffer {
  if (others.length === 0) return input;
  const other = random.pick(others);
  const [start, length] = part(other, random);
  const piece = other.subarray(start, random.below(2) === 0 ? other.length : start + length);
  const at = random.below(input.length + 1);
  return replaced(input, at, random.below(2) === 0 ? input.length - at : piece.length, piece);
}

function cutShort(input: Buffer, random: Random): Buffer {
  return input.subarray(0, random.below(input.length + 1));
}

function part(input: Buffer, random: Random): [start: number, length: number] {
  const start = random.below(input.length + 1);
  const most = Math.min(input.length - start, random.below(4) === 0 ? input.length : 16);
  return [start, random.below(most + 1)];
}

function replaced(input: Buffer, at: number, length: number, by: Buffer): Buffer {
  return Buffer.concat([input.subarray(0, at), by, input.subarray(at + length)]);
}
