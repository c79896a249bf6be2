import { printable } from '../cli/terminal.ts';
import type { HostKey } from '../ssh/hostkey.ts';
import { randomart } from '../ssh/randomart.ts';
import type { Pin } from './pin.ts';

const width = 78;
const rule = '='.repeat(width);

/**
 * The warning about a changed host key: framed, at most 78 columns wide, plain ASCII without colour, so that
 * it looks the same on every terminal, in an editor's dialog and in a log.
 */
export function changedKeyWarning(
  vm: string,
  { pinned, presented }: { readonly pinned: Pin; readonly presented: HostKey },
): string {
  return [
    rule,
    '  WARNING: THE HOST KEY OF THIS VM HAS CHANGED. THE CONNECTION WAS BLOCKED.',
    rule,
    '',
    ...comparison(vm, pinned, presented),
    '',
    '  Did you recently run `mint recreate`? Then the VM has a new key, and you can',
    '  accept it. If not, someone may be listening between you and the VM: compare',
    '  the fingerprint with what the VM itself shows before you do. Nothing was',
    '  sent that could log anyone in, and nothing that is trusted has changed.',
    '',
    '  To accept exactly the key that was seen now:',
    '',
    ...commandLines(['mint-ssh hosts accept', vm, presented.fingerprint]),
    '',
    rule,
  ].join('\n');
}

/** Both keys, one above the other and as pictures side by side, in lines of at most 78 columns. */
export function comparison(vm: string, pinned: Pin | undefined, presented: HostKey): string[] {
  return [
    `  VM:       ${vm}`,
    ...(pinned === undefined ? [] : [`  pinned:   ${pinned.fingerprint}`, ...described(pinned)]),
    `  now seen: ${presented.fingerprint}`,
    `            ${presented.type}`,
    '',
    ...pictures(pinned?.key, presented),
  ];
}

/** Type, date and instance of the pinned key, as far as they are known. */
function described({ type, pinnedAt, instance }: Pin): string[] {
  if (type === undefined && pinnedAt === undefined) {
    return ['            written by Mint: neither type nor date is known'];
  }
  const date = pinnedAt === undefined ? 'date unknown' : `pinned ${minutes(pinnedAt)}`;
  const lines = [`${type ?? 'type unknown'}, ${date}`, ...(instance === undefined ? [] : [`on ${instance}`])];
  // What comes from a file is shown as text, and cut.
  return lines.map((line) => `            ${printable(line).slice(0, width - 12)}`);
}

function minutes(date: string): string {
  return `${date.slice(0, 16).replace('T', ' ')} UTC`;
}

/** Both keys' pictures side by side; of the pinned key only when we have the key itself. */
function pictures(pinned: HostKey | undefined, presented: HostKey): string[] {
  const after = ['now seen', ...randomart(presented).split('\n')];
  if (pinned === undefined) return after.map((line) => `  ${line}`);
  const before = ['pinned', ...randomart(pinned).split('\n')];
  return after.map((line, index) => `  ${(before[index] ?? '').padEnd(30)}${line}`.trimEnd());
}

/** On one line where it fits; else split so that it can be copied as it stands. */
function commandLines(words: readonly string[]): string[] {
  const whole = `  ${words.join(' ')}`;
  return whole.length <= width ? [whole] : [`  ${words.join(' \\\n      ')}`];
}
