/** A parser with a bug in its depth, for the test that the fuzzer finds such: it takes the word of an index. */
export function readField(message: Buffer): string {
  if (message.length < 8) return 'too short';
  if (message[0] !== 0x14) return 'another message';
  if (message[1] !== 0x7e) return 'another version';
  if (message[2] !== message.length - 3) return 'another length';
  if (message[3] !== 0x5a) return 'another kind';
  const at = message.readUInt8(4);
  return at < 7 ? 'no field' : String(message.readUInt8(at) > 0);
}
