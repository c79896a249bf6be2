/** A key's picture, as `ssh-keygen -lv` and `VisualHostKey` draw it: the drunken bishop's walk. */
import { createHash } from 'node:crypto';
import { bitLength, type HostKey } from './hostkey.ts';
import { WireReader } from './wire.ts';

const width = 17;
const height = 9;
/** By number of visits; the last two mark where the walk began and where it ended. */
const symbols = ' .o+=*BOX@%&#/^SE';
const start = symbols.length - 2;
const end = symbols.length - 1;

/** Gives eleven lines, without a final newline. */
export function randomart(key: HostKey): string {
  const field = walk(createHash('sha256').update(key.blob).digest());
  const rows = field.map((row) => `|${row.map((visits) => symbols[visits]).join('')}|`);
  return [border(title(key)), ...rows, border('[SHA256]')].join('\n');
}

function walk(digest: Buffer): number[][] {
  const field = Array.from({ length: height }, () => new Array<number>(width).fill(0));
  const mark = (x: number, y: number, change: (visits: number) => number): void => {
    const row = field[y] ?? [];
    row[x] = change(row[x] ?? 0);
  };
  let x = (width - 1) / 2;
  let y = (height - 1) / 2;
  const [startX, startY] = [x, y];
  for (const byte of digest) {
    for (let shift = 0; shift < 8; shift += 2) {
      const step = byte >> shift;
      x = clamp(x + (step & 1 ? 1 : -1), width - 1);
      y = clamp(y + (step & 2 ? 1 : -1), height - 1);
      mark(x, y, (visits) => Math.min(visits + 1, start - 1));
    }
  }
  mark(startX, startY, () => start);
  mark(x, y, () => end);
  return field;
}

/** ssh-keygen leaves the size out when type and size do not fit into the border. */
function title({ blob, type }: HostKey): string {
  const reader = new WireReader(blob);
  reader.string();
  if (type === 'ssh-ed25519') return '[ED25519 256]';
  if (type.startsWith('ecdsa-sha2-nistp')) return `[ECDSA ${type.slice('ecdsa-sha2-nistp'.length)}]`;
  if (type !== 'ssh-rsa') return `[${type.slice(0, width - 2)}]`;
  reader.mpint();
  return `[RSA ${bitLength(reader.mpint())}]`;
}

function border(label: string): string {
  const left = '-'.repeat(Math.floor((width - label.length) / 2));
  return `+${(left + label).padEnd(width, '-')}+`;
}

function clamp(value: number, most: number): number {
  return Math.min(Math.max(value, 0), most);
}
