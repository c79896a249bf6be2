/** The signature of a Windows executable: see "PE Format" in Microsoft's documents, and there the attribute certificate table. */

/** Where an executable's certificate table is; a size of 0 means that it has none. @throws Error if it is not PE32+ */
export function signatureOf(executable: Buffer): { readonly offset: number; readonly size: number } {
  const entry = signatureEntry(executable);
  return { offset: executable.readUInt32LE(entry), size: executable.readUInt32LE(entry + 4) };
}

/** The same program unsigned. The table has to be the last thing in the file, as signers put it. @throws Error else */
export function withoutSignature(executable: Buffer): Buffer {
  const { offset, size } = signatureOf(executable);
  if (size === 0) return executable;
  if (offset + size !== executable.length) throw new Error('the signature is not the end of the executable');
  const unsigned = Buffer.from(executable.subarray(0, offset));
  unsigned.fill(0, signatureEntry(executable), signatureEntry(executable) + 8);
  return unsigned;
}

/** Of the data directories the fifth, 8 bytes each; the only one that has an offset in the file and no address. */
function signatureEntry(executable: Buffer): number {
  const header = executable.readUInt32LE(0x3c);
  if (executable.toString('latin1', header, header + 4) !== 'PE\0\0') throw new Error('no PE executable');
  const optional = header + 24;
  const pe32plus = 0x20b;
  if (executable.readUInt16LE(optional) !== pe32plus) throw new Error('no 64-bit executable');
  return optional + 112 + 4 * 8;
}
