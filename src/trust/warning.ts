import { printable } from '../cli/terminal.ts';
import { shownTime } from '../cli/time.ts';
import type { HostKey } from '../ssh/hostkey.ts';
import { closest } from './changed-key.ts';
import { type ConsoleKey, isElsewhere, type Pin, type Place, type Refusal } from './pin.ts';

const width = 78;
const rule = '='.repeat(width);

/** With the known facts about the instance that has the name now. */
interface Change extends Place {
  readonly pinned: Pin;
  readonly presented: HostKey;
  /** Whether Mint tagged the instance, so that `mint recreate` may be the cause. */
  readonly isMintVm?: boolean;
}

/**
 * The warning about a changed host key: framed, at most 78 columns wide, in plain ASCII without colours, so that it looks
 * the same on every terminal, in an editor's dialog and in a log.
 *
 * @param cause sentences from `likelyCause`
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
 * The prompt about a changed host key. Its last line is OpenSSH's own, by which editors recognize it.
 *
 * @param seconds how long the user has
 */
export function changedKeyQuestion(vm: string, change: Change, cause: readonly string[], seconds: number) {
  return {
    framed: framed('WARNING: THE HOST KEY OF THIS VM HAS CHANGED. THE CONNECTION IS HELD.', [
      ...explanation(vm, change, cause),
      '',
      ...wrapped(
        `Trust the new key of ${vm}? You have ${seconds} seconds to answer; without an answer the connection is blocked.`,
      ),
    ]),
    prompt: 'Are you sure you want to continue connecting (yes/no/[fingerprint])? ',
    accepts: ['yes', change.presented.fingerprint],
    seconds,
  };
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

function advice(vm: string, { pinned, isMintVm = false, ...place }: Change): string {
  if (isElsewhere(pinned, place)) {
    return (
      'A name belongs to one AWS account and region at a time. To use both VMs, do not accept the key, ' +
      `and give one of them a name of its own in ssh.toml: [vm.NAME] with instance = "${place.instance ?? 'i-...'}" ` +
      `and its profile or region. Accept the key only if ${vm} is to mean this VM from now on.`
    );
  }
  const recreated = isMintVm ? 'Did you recently run `mint recreate`? ' : '';
  if (place.instance !== undefined && place.instance === pinned.instance) {
    return (
      (isMintVm
        ? `${recreated}It would have made a new instance, and this is still the same: it does not explain the change. `
        : '') +
      'Unless you replaced the key on the VM yourself, someone may be listening between you and the VM.'
    );
  }
  return (
    (isMintVm
      ? `${recreated}Then the VM has a new key, and you can accept it. If not, `
      : 'If you recreated or reinstalled the VM, it has a new key, and you can accept it. If not, ') +
    'someone may be listening between you and the VM: compare the fingerprint with what the VM itself ' +
    'shows before you do.'
  );
}

const unharmed = 'Nothing was sent that could log anyone in, and nothing that is trusted has changed.';

/** The warning about a key that the console of the instance does not list. */
export function unverifiedKeyWarning(vm: string, presented: HostKey, shown: readonly ConsoleKey[]): string {
  const other = shown.some(({ type }) => type === presented.type)
    ? 'another key of this type'
    : `its host keys to its console, and has no ${presented.type} key`;
  return framed('WARNING: THIS IS NOT THE HOST KEY THAT AWS SHOWS. THE CONNECTION WAS BLOCKED.', [
    ...comparison(vm, undefined, presented),
    '',
    ...shownLines(shown, presented.type),
    '',
    ...wrapped(
      `The first boot of the instance printed ${other}. Either the host keys were replaced on the VM since, or ` +
        'someone is answering in its place. Nothing was sent that could log anyone in, and nothing is trusted.',
    ),
    '',
    '  If you know why the keys differ, accept exactly the key that was seen now:',
    '',
    ...commandLines(['mint-ssh hosts accept', vm, presented.fingerprint]),
  ]);
}

/**
 * The warning about a pin of first use that AWS contradicts. The key that AWS shows is offered first.
 * @param pinned the contradicted key
 * @param presented by the server now
 */
export function contradictedPinWarning(
  vm: string,
  pinned: Pin,
  presented: HostKey,
  shown: readonly ConsoleKey[],
): string {
  const own = closest(shown, presented.type);
  return framed('WARNING: AWS DOES NOT SHOW THE PINNED HOST KEY. THE CONNECTION WAS BLOCKED.', [
    ...comparison(vm, pinned, presented),
    '',
    ...shownLines(shown, presented.type),
    '',
    ...wrapped(
      'The key was pinned at first use, before AWS showed the console output of the instance. Either the host keys ' +
        'were replaced on the VM since its first boot, or someone answered in its place when the key was pinned, and ' +
        'may have seen what was sent over that session. Nothing was sent now.',
    ),
    ...(own === undefined
      ? []
      : [
          '',
          '  To trust the key that AWS shows:',
          '',
          ...commandLines(['mint-ssh hosts accept', vm, own.fingerprint]),
        ]),
    '',
    '  Only if you know why they differ, keep the pinned key:',
    '',
    ...commandLines(['mint-ssh hosts accept', vm, printable(pinned.fingerprint)]),
  ]);
}

/** The warning about a key that was refused before and has not been accepted since. */
export function refusedBeforeWarning(vm: string, { key, seenAt, reason }: Refusal): string {
  return framed('WARNING: THIS HOST KEY WAS REFUSED BEFORE. THE CONNECTION WAS BLOCKED.', [
    ...comparison(vm, undefined, key),
    '',
    ...wrapped(
      `It was refused at ${shownTime(seenAt)}, because ` +
        (reason === 'unverified' ? 'it is not one that AWS shows' : 'another key was pinned') +
        ', and stays blocked until you accept it or the VM is another instance. Nothing was sent that could log anyone in.',
    ),
    '',
    '  If you know that it is the key of the VM:',
    '',
    ...commandLines(['mint-ssh hosts accept', vm, key.fingerprint]),
  ]);
}

function shownLines(shown: readonly ConsoleKey[], type: string): string[] {
  const first = closest(shown, type);
  const all = [...shown].sort((one, other) => Number(other === first) - Number(one === first));
  return all.map(({ fingerprint, type: shownType }, at) => {
    const start = at === 0 ? 'AWS shows:' : '          ';
    return `  ${start} ${fingerprint} (${printable(shownType).slice(0, 12).replace('ecdsa-sha2-n', 'ecdsa')})`;
  });
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

/** @returns both keys, one above the other, in lines of at most 78 columns */
export function comparison(vm: string, pinned: Pin | undefined, presented: HostKey): string[] {
  return [
    `  VM:       ${vm}`,
    ...(pinned === undefined ? [] : [`  pinned:   ${printable(pinned.fingerprint)}`, ...described(pinned)]),
    `  now seen: ${presented.fingerprint}`,
    `            ${presented.type}`,
  ];
}

/** Type, date and instance of the pinned key, if known. */
function described({ type, pinnedAt, instance }: Pin): string[] {
  if (type === undefined && pinnedAt === undefined) {
    return ['            written by Mint: type and date are unknown'];
  }
  const date = pinnedAt === undefined ? 'date unknown' : `pinned ${shownTime(pinnedAt)}`;
  const lines = [`${type ?? 'type unknown'}, ${date}`, ...(instance === undefined ? [] : [`on ${instance}`])];
  // Text from a file is escaped and shortened.
  return lines.map((line) => `            ${printable(line).slice(0, width - 12)}`);
}

/** A command on one line if it fits, else split so that it can be copied unchanged. */
function commandLines(words: readonly string[]): string[] {
  const whole = `  ${words.join(' ')}`;
  return whole.length <= width ? [whole] : [`  ${words.join(' \\\n      ')}`];
}
