/** Cuts bytes as a network may: into pieces whose lengths follow from the bytes themselves. */
export function inPieces(bytes: Buffer): Buffer[] {
  const pieces: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = 1 + ((bytes[at] ?? 0) % 7);
    pieces.push(bytes.subarray(at, at + length));
    at += length;
  }
  return pieces;
}
