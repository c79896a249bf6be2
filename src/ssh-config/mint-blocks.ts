/**
 * The blocks that the Mint CLI itself writes into the user's ssh config, one for each VM:
 *
 *     # mint:begin dev
 *     Host mint-dev
 *         …
 *     # mint:end dev
 *     # mint:checksum:<SHA-256, in hexadecimal>
 *
 * The checksum is over what stands between the two markers, line ends included. Where it fits, the block is as
 * Mint wrote it and may make way for ours; what a person has edited is theirs. Bytes in, bytes out; text is
 * latin1, so that no byte changes on the way.
 */
import { createHash } from 'node:crypto';

export interface MintBlock {
  /** As Mint wrote it; in lower case, as VMs are called. */
  readonly vm: string;
  /** Of its first line, from 1. */
  readonly line: number;
  /** Exactly what Mint wrote; else edited by hand, or not whole. */
  readonly isIntact: boolean;
}

interface FoundBlock extends MintBlock {
  /** Of the first line, and of the one behind the last, from 0. */
  readonly from: number;
  readonly to: number;
}

const begin = /^# mint:begin ([A-Za-z0-9][A-Za-z0-9._-]{0,62})$/;
const checksum = /^# mint:checksum:([0-9a-f]{64})$/;

/** What stands in a block's place: the block itself goes with it, so that taking us out gives it back. */
const keptForm =
  /^# mint-ssh has put aside Mint's block of (\S+); `mint-ssh ssh-config --remove` puts it back: ([A-Za-z0-9+/]+={0,2})$/;

function keptLine(vm: string, text: string): string {
  const packed = Buffer.from(text, 'latin1').toString('base64');
  return `# mint-ssh has put aside Mint's block of ${vm}; \`mint-ssh ssh-config --remove\` puts it back: ${packed}`;
}

/** All of them, in the order of the file. */
export function findMintBlocks(bytes: Buffer | undefined): readonly MintBlock[] {
  return findIn(split(text(bytes)));
}

/**
 * The file with a comment in the place of each intact block of one of these VMs. What was put aside before for a VM
 * that Mint has written anew since is older than that, and goes.
 */
export function putAsideMintBlocks(bytes: Buffer, vms: ReadonlySet<string>): Buffer {
  const lines = split(text(bytes));
  const blocks = findIn(lines).filter(({ vm, isIntact }) => isIntact && vms.has(vm));
  if (blocks.length === 0) return bytes;
  const renewed = new Set(blocks.map(({ vm }) => vm));
  const starts = new Map(blocks.map((block) => [block.from, block]));
  const after: string[] = [];
  for (let at = 0; at < lines.length; at += 1) {
    const line = lines[at] ?? '';
    const block = starts.get(at);
    if (block !== undefined) {
      const whole = lines.slice(block.from, block.to).join('');
      const end = whole.endsWith('\n') ? '\n' : '';
      after.push(keptLine(block.vm, whole.slice(0, whole.length - end.length)) + end);
      at = block.to - 1;
    } else if (!renewed.has(keptBlock(line)?.vm ?? '')) after.push(line);
  }
  return Buffer.from(after.join(''), 'latin1');
}

/** The inverse. Where Mint has written the VM's block anew meanwhile, that one stays and the older goes. */
export function restoreMintBlocks(bytes: Buffer): Buffer {
  const lines = split(text(bytes));
  // One that is torn is no newer one: it stood there before.
  const standing = new Set(findIn(lines).flatMap(({ vm, isIntact }) => (isIntact ? [vm] : [])));
  const after = lines.map((line) => {
    const kept = keptBlock(line);
    if (kept === undefined) return line;
    return standing.has(kept.vm) ? '' : kept.text + line.slice(bare(line).length);
  });
  return Buffer.from(after.join(''), 'latin1');
}

/** Undefined where it is no such comment, or what it holds is no block of that VM: then the line is not ours. */
function keptBlock(line: string): { readonly vm: string; readonly text: string } | undefined {
  const [, vm = '', packed = ''] = keptForm.exec(bare(line)) ?? [];
  if (vm === '') return undefined;
  const whole = Buffer.from(packed, 'base64').toString('latin1');
  const lines = split(whole);
  const [block, another] = findIn(lines);
  const isWhole = block?.isIntact === true && block.from === 0 && block.to === lines.length;
  return isWhole && another === undefined && block.vm === vm ? { vm, text: whole } : undefined;
}

function findIn(lines: readonly string[]): readonly FoundBlock[] {
  const found: FoundBlock[] = [];
  for (let at = 0; at < lines.length; at += 1) {
    const name = begin.exec(bare(lines[at] ?? ''))?.[1];
    if (name === undefined) continue;
    const block = blockAt(lines, at, name);
    found.push(block);
    at = block.to - 1;
  }
  return found;
}

function blockAt(lines: readonly string[], from: number, name: string): FoundBlock {
  let at = from + 1;
  while (at < lines.length && !lines[at]?.startsWith('# mint:')) at += 1;
  const [end = '', sum = ''] = lines.slice(at, at + 2);
  const inner = lines.slice(from + 1, at).join('');
  const isIntact =
    lines[from] === `# mint:begin ${name}\n` &&
    end === `# mint:end ${name}\n` &&
    inner.startsWith(`Host mint-${name}\n`) &&
    checksum.exec(sum.endsWith('\n') ? sum.slice(0, -1) : sum)?.[1] === digest(inner);
  const to = isIntact ? at + 2 : from + 1;
  return { vm: name.toLowerCase(), line: from + 1, isIntact, from, to };
}

function digest(inner: string): string {
  return createHash('sha256').update(inner, 'latin1').digest('hex');
}

/** Without what ends it: a line feed, also behind a carriage return or spaces. */
function bare(line: string): string {
  return line.trimEnd();
}

function split(content: string): string[] {
  return content.match(/[^\n]*\n|[^\n]+$/g) ?? [];
}

function text(bytes: Buffer | undefined): string {
  return bytes?.toString('latin1') ?? '';
}
