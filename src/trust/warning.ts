import { printable } from '../cli/terminal.ts';
import type { HostKey } from '../ssh/hostkey.ts';
import { randomart } from '../ssh/randomart.ts';
import { isElsewhere, type Pin, type Place } from './pin.ts';

const width = 78;
const rule = '='.repeat(width);

/** With what is known of the instance that is behind the name now. */
interface Change extends Place {
  readonly pinned: Pin;
  readonly presented: HostKey;
}

/**
 * The warning about a changed host key: framed, at most 78 columns wide, plain ASCII without colour, so that
 * it looks the same on every terminal, in an editor's dialog and in a log.
 *
 * @param cause what is known of why it changed, in sentences; see `likelyCause`
 */
export function changedKeyWarning(vm: string, change: Change, cause: readonly string[] = []): string {
  return framed('WARNING: THE HOST KEY OF THIS VM HAS CHANGED. THE CONNECTION WAS BLOCKED.', [
    ...explanation(vm, change, cause),
    '',
    '  To accept exactly the key that was seen now:',
    '',
    ...commandLines(['mint-ssh hosts accept', vm, change.presented.fingerprint]),
  ]);
}

/**
 * The same as a question. Its last line is close to OpenSSH's own, by which editors know what to show.
 * @param seconds how long the person has
 */
export function changedKeyQuestion(vm: string, change: Change, cause: readonly string[], seconds: number) {
  return {
    framed: framed('WARNING: THE HOST KEY OF THIS VM HAS CHANGED. THE CONNECTION IS HELD.', [
      ...explanation(vm, change, cause),
      '',
      ...wrapped(`You have ${seconds} seconds to answer; without an answer the connection is blocked.`),
    ]),
    prompt: `Trust the new key of ${vm}? Are you sure you want to continue connecting (yes/no/[fingerprint])? `,
    accepts: ['yes', change.presented.fingerprint],
    seconds,
  };
}

/** For every connection while AWS shows another key than the one that was pinned at first use. */
export function disagreementNotice(vm: string, pin: Pin, consoleShows: string): string {
  return [
    `mint-ssh: warning: the host key of ${vm} is trusted, but it is not the one that AWS shows`,
    `mint-ssh: pinned ${printable(pin.fingerprint)}, console ${printable(consoleShows)}`,
    `mint-ssh: hint: if you know why they differ: mint-ssh hosts accept ${vm} ${printable(pin.fingerprint)}`,
  ].join('\n');
}

function explanation(vm: string, change: Change, cause: readonly string[]): string[] {
  return [
    ...comparison(vm, change.pinned, change.presented),
    '',
    ...cause.flatMap((sentence) => wrapped(printable(sentence))),
    ...(cause.length === 0 ? [] : ['']),
    ...wrapped(`${printable(advice(vm, change))} ${unharmed}`),
  ];
}

function advice(vm: string, { pinned, ...place }: Change): string {
  if (isElsewhere(pinned, place)) {
    return (
      'A name belongs to one AWS account and region at a time. To use both VMs, do not accept the key, ' +
      `and give one of them a name of its own in ssh.toml: [vm.NAME] with instance = "${place.instance ?? 'i-...'}" ` +
      `and its profile or region. Accept the key only if ${vm} is to mean this VM from now on.`
    );
  }
  if (place.instance !== undefined && place.instance === pinned.instance) {
    return (
      'Did you recently run `mint recreate`? It would have made a new instance, and this is still the same: ' +
      'it does not explain the change. Unless you replaced the key on the VM yourself, someone may be ' +
      'listening between you and the VM.'
    );
  }
  return (
    'Did you recently run `mint recreate`? Then the VM has a new key, and you can accept it. If not, ' +
    'someone may be listening between you and the VM: compare the fingerprint with what the VM itself ' +
    'shows before you do.'
  );
}

const unharmed = 'Nothing was sent that could log anyone in, and nothing that is trusted has changed.';

/** The warning about a first key that is not the one AWS shows. */
export function unverifiedKeyWarning(vm: string, presented: HostKey, consoleShows: string): string {
  return framed('WARNING: THIS IS NOT THE HOST KEY THAT AWS SHOWS. THE CONNECTION WAS BLOCKED.', [
    ...comparison(vm, undefined, presented),
    '',
    `  AWS shows: ${consoleShows}`,
    '',
    ...wrapped(
      'The first boot of the instance printed another key of this type to its console. Either the host keys ' +
        'were replaced on the VM since, or someone is answering in its place. Nothing was sent that could log ' +
        'anyone in, and nothing is trusted.',
    ),
    '',
    '  If you know why the keys differ, accept exactly the key that was seen now:',
    '',
    ...commandLines(['mint-ssh hosts accept', vm, presented.fingerprint]),
  ]);
}

function framed(title: string, lines: readonly string[]): string {
  return [rule, `  ${title}`, rule, '', ...lines, '', rule].join('\n');
}

/** A paragraph in lines of at most 78 columns, indented by two. */
function wrapped(paragraph: string): string[] {
  const lines: string[] = [];
  for (const word of paragraph.split(' ')) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= width)
      lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(`  ${word}`);
  }
  return lines;
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
