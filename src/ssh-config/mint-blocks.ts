/**
 * The blocks that the Mint CLI writes into the user's ssh config, one for each VM:
 *
 *     # mint:begin dev
 *     Host mint-dev
 *         …
 *     # mint:end dev
 *     # mint:checksum:<SHA-256 of the lines between the two markers, in hexadecimal>
 *
 * Our Include comes before them, so our values take precedence and the blocks can stay.
 */
import { createHash } from 'node:crypto';
import { splitLines } from '../platform/files.ts';

/**
 * @param bytes an ssh config
 * @returns the config with every unmodified block of Mint commented out, line by line: such a block does not mean that
 *   the user uses the VM's name for another host
 */
export function withoutMintBlocks(bytes: Buffer): Buffer {
  const lines = splitLines(bytes.toString('latin1'));
  for (let at = 0; at < lines.length; at += 1) {
    const name = /^# mint:begin ([A-Za-z0-9][A-Za-z0-9._-]{0,62})\n$/.exec(lines[at] ?? '')?.[1];
    const end = lines.indexOf(`# mint:end ${name}\n`, at);
    if (name === undefined || end < 0) continue;
    const inner = lines.slice(at + 1, end);
    const digest = createHash('sha256').update(inner.join(''), 'latin1').digest('hex');
    const isIntact =
      inner[0] === `Host mint-${name}\n` && lines[end + 1]?.trimEnd() === `# mint:checksum:${digest}`;
    if (isIntact) lines.fill('#\n', at + 1, end);
  }
  return Buffer.from(lines.join(''), 'latin1');
}
