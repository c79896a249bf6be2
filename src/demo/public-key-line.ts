/**
 * The inner structure of the key blob (RFC 4253 §6.6, RFC 8709 §4) is checked too.
 *
 * @returns whether EC2 Instance Connect accepts the line: an RSA or Ed25519 public key on one line without options
 */
export function isPublicKeyLine(line: string): boolean {
  const [, type, base64] = /^(ssh-ed25519|ssh-rsa) ([A-Za-z0-9+/]+={0,2})(?: [^\r\n\0]*)?$/.exec(line) ?? [];
  if (type === undefined || base64 === undefined) return false;
  const blob = Buffer.from(base64, 'base64');
  if (blob.toString('base64') !== base64) return false;
  const fields = readStrings(blob);
  if (fields?.[0]?.toString() !== type) return false;
  if (type === 'ssh-ed25519') return fields.length === 2 && fields[1]?.length === 32;
  return fields.length === 3 && (fields[2]?.length ?? 0) >= 256;
}

/** @returns the SSH strings of the blob; undefined if they do not fill it exactly */
function readStrings(blob: Buffer): Buffer[] | undefined {
  const strings: Buffer[] = [];
  for (let at = 0; at < blob.length; ) {
    if (at + 4 > blob.length) return undefined;
    const end = at + 4 + blob.readUInt32BE(at);
    if (end > blob.length) return undefined;
    strings.push(blob.subarray(at + 4, end));
    at = end;
  }
  return strings;
}
