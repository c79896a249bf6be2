/** Arbitrary inputs for a parser: a known input with one to four parts replaced. */
import { fc } from '../property.ts';

/** Lengths and numbers that parsers commonly get wrong, as a uint32 field. */
const edges = [0, 1, 4, 5, 7, 8, 0x7f, 0x80, 0xff, 0x100, 35_000, 0xffff, 0x40000, 0x7fffffff, 0x80000000];

interface Edit {
  /** The offset in bytes, modulo the length of the input. */
  readonly at: number;
  readonly removedBytes: number;
  readonly inserted: Buffer;
  readonly times: number;
}

export interface MutationOptions {
  /** The inputs that are changed. */
  readonly inputs: readonly Buffer[];
  /** Words of the format. */
  readonly dictionary: readonly (string | Buffer)[];
  /** A longer input is cut, in bytes. */
  readonly maxBytes: number;
}

/** fast-check shrinks a failing input to fewer and smaller edits of an earlier input. */
export function mutations({ inputs, dictionary, maxBytes }: MutationOptions): fc.Arbitrary<Buffer> {
  const input = fc.constantFrom(Buffer.alloc(0), ...inputs);
  const part = fc
    .tuple(input, fc.nat(), fc.nat({ max: 64 }))
    .map(([from, at, length]) => from.subarray(at % (from.length + 1)).subarray(0, length));
  const inserted = fc.oneof(
    fc.constantFrom(Buffer.alloc(0), ...dictionary.map((word) => Buffer.from(word as string))),
    fc.uint8Array({ maxLength: 8 }).map((bytes) => Buffer.from(bytes)),
    fc.constantFrom(...edges).map(uint32),
    part,
  );
  const edit: fc.Arbitrary<Edit> = fc.record({
    at: fc.nat(),
    removedBytes: fc.oneof(fc.constantFrom(0, 1, 4), fc.nat({ max: 64 }), fc.nat({ max: maxBytes })),
    inserted,
    times: fc.oneof({ weight: 8, arbitrary: fc.constant(1) }, { weight: 1, arbitrary: fc.nat({ max: 64 }) }),
  });
  return fc
    .tuple(input, fc.array(edit, { minLength: 1, maxLength: 4 }))
    .map(([start, edits]) => edits.reduce(apply, start).subarray(0, maxBytes));
}

function apply(bytes: Buffer, { at, removedBytes, inserted, times }: Edit): Buffer {
  const start = at % (bytes.length + 1);
  return Buffer.concat([
    bytes.subarray(0, start),
    ...Array<Buffer>(times).fill(inserted),
    bytes.subarray(start + removedBytes),
  ]);
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
