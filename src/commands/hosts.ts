/** `mint-ssh hosts`: shows the host keys that are trusted, and lets the user change them. */
import { isatty } from 'node:tty';
import { checkSubcommand } from '../cli/arguments.ts';
import { columns, outputWidth } from '../cli/columns.ts';
import type { Command, Invocation } from '../cli/command.ts';
import { hint, print, printable, printJson, say } from '../cli/terminal.ts';
import { askOnTerminal } from '../cli/terminal-question.ts';
import { isoTime, shownTime } from '../cli/time.ts';
import { MintError } from '../errors.ts';
import { appendAudit } from '../platform/audit.ts';
import { resolvePaths } from '../platform/paths.ts';
import { vmName } from '../settings/vm-name.ts';
import { closest } from '../trust/changed-key.ts';
import { typeOf } from '../trust/decide.ts';
import type { Pin } from '../trust/pin.ts';
import { type HostEntry, TrustStore } from '../trust/store.ts';
import { comparison } from '../trust/warning.ts';

export const command: Command = {
  usage: 'hosts [list | show VM | accept VM [FINGERPRINT] | forget VM | verify [VM]] [--json]',
  help: `The host keys that are trusted: a VM has one of each type. Mint's known_hosts has the ed25519 key, records beside it
have the rest.`,
  words: [
    ['list', 'list every VM with its keys: why each is trusted, since when, on which instance', ['json']],
    ['show VM', 'show all that is known about one VM, and the key that was refused last', ['json']],
    ['accept VM FINGERPRINT', 'trust this key from now on, in place of the pinned one of its type', ['json']],
    ['accept VM', 'show the key that was refused last, and ask whether to trust it', ['json']],
    ['verify [VM]', 'compare the pinned keys with the console output that AWS shows', ['json']],
    ['forget VM', 'trust the next key that VM presents, as if it were new', ['json']],
  ],
  options: { json: { type: 'boolean', description: 'print JSON: see docs/json.md' } },
  run,
};

const actions: Readonly<
  Record<string, (store: TrustStore, words: readonly string[], json: boolean) => void>
> = {
  list,
  show: showVm,
  forget,
};

async function run({ positionals, values, globals }: Invocation): Promise<number> {
  const [action = 'list', ...words] = positionals;
  checkSubcommand(command, action, values);
  const paths = resolvePaths({ configDir: globals.configDir });
  const store = new TrustStore(paths);
  const json = values['json'] === true;
  if (action === 'accept') {
    const { vm, fingerprint } = await accept(store, words, json);
    const noted = { event: 'host-key-accepted', command: 'hosts accept', vm } as const;
    appendAudit(paths, { ...noted, keyFingerprint: fingerprint });
    return 0;
  }
  if (action === 'verify') {
    const name = words.length === 0 ? undefined : onlyName(words);
    const { verify } = await import('./hosts-verify.ts');
    return verify(paths, store, name, json, globals);
  }
  actions[action]?.(store, words, json);
  if (action === 'forget') {
    appendAudit(paths, { event: 'host-key-forgotten', command: 'hosts forget', vm: onlyName(words) });
  }
  return 0;
}

function list(store: TrustStore, words: readonly string[], json: boolean): void {
  if (words.length > 0) throw misused('list takes no name: `show VM` does');
  const entries = store.list();
  if (json) {
    printJson(entries.map(toJson));
    return;
  }
  const pinned = entries.filter((entry) => entry.pin !== undefined);
  if (pinned.length > 0) print(table(pinned));
  if (entries.length === 0) say('no host key is pinned yet: the first connection to a VM pins its key');
  for (const { vm, contradiction, problem, refused } of entries) {
    if (contradiction !== undefined) say(`${vm}: blocked: ${contradicts(contradiction)}`);
    if (problem !== undefined) say(`${vm}: ${printable(problem)}`);
    if (refused !== undefined)
      say(`${vm}: the key ${refused.key.fingerprint} was refused at ${shownTime(refused.seenAt)}`);
  }
}

function showVm(store: TrustStore, words: readonly string[], json: boolean): void {
  const vm = onlyName(words);
  const entry = store.show(vm);
  if (entry === undefined) throw unknown(vm);
  if (json) {
    printJson(toJson(entry));
    return;
  }
  const { pin, pins, refused, problem, contradiction } = entry;
  const lines: [string, string | undefined][] = [
    ['VM', vm],
    ...pins.flatMap((one): [string, string | undefined][] => [
      ['fingerprint', one.fingerprint],
      ['type', one.type],
      ['evidence', evidenceOf(one)],
      ['first seen', one.firstSeen && shownTime(one.firstSeen)],
      ['pinned', one.pinnedAt && shownTime(one.pinnedAt)],
    ]),
    ['blocked', contradiction && contradicts(contradiction)],
    ['last login', pin?.lastLogin && shownTime(pin.lastLogin)],
    ['instance', pin?.instance],
    ['account', pin?.account],
    ['region', pin?.region],
    ['refused', refused && `${refused.key.fingerprint} (${refused.key.type})`],
    ['refused at', refused && shownTime(refused.seenAt)],
    ['refused on', refused?.instance],
    ['problem', problem],
  ];
  const known = lines.filter((line): line is [string, string] => line[1] !== undefined);
  print(known.map(([name, value]) => `${`${name}:`.padEnd(13)}${printable(value)}`).join('\n'));
}

function forget(store: TrustStore, words: readonly string[], json: boolean): void {
  const vm = onlyName(words);
  if (!store.forget(vm)) throw unknown(vm);
  if (json) printJson({ vm, forgotten: true });
  else say(`forgot the host key of ${vm}: the next key it presents will be trusted`);
}

async function accept(
  store: TrustStore,
  words: readonly string[],
  json: boolean,
): Promise<{ readonly vm: string; readonly fingerprint: string }> {
  const [name, given, ...more] = words;
  if (name === undefined || more.length > 0) throw misused('accept takes a VM and at most one fingerprint');
  const vm = vmName(name);
  const fingerprint = given ?? (await askAboutRefused(store, vm));
  if (fingerprint === undefined) {
    throw new MintError('host-key-changed', `the host key of ${vm} was not accepted; nothing has changed`);
  }
  const pin = store.accept(vm, fingerprint);
  if (json) {
    const entry = store.show(vm);
    if (entry !== undefined) printJson(toJson(entry));
    return { vm, fingerprint: pin.fingerprint };
  }
  say(`the host key of ${vm} is now ${pin.fingerprint}`);
  if (pin.key === undefined)
    hint('no connection has seen this key yet; a connection that presents another one is blocked');
  return { vm, fingerprint: pin.fingerprint };
}

/**
 * Asks about the key that was refused last.
 * @returns its fingerprint if the user types `yes`, else undefined
 */
async function askAboutRefused(store: TrustStore, vm: string): Promise<string | undefined> {
  const { pin, refused } = store.show(vm) ?? {};
  if (refused === undefined) {
    throw new MintError('usage', `no key of ${vm} was refused, so there is nothing to accept`, {
      hint: `\`mint-ssh hosts accept ${vm} FINGERPRINT\` trusts a key that you know`,
    });
  }
  const { key, seenAt } = refused;
  const question = {
    framed: [
      '',
      ...comparison(vm, pin, key),
      '',
      `Trust the key that was seen at ${shownTime(seenAt)} from now on?`,
    ].join('\n'),
    prompt: 'Type yes or its fingerprint: ',
    accepts: ['yes', key.fingerprint],
    seconds: Number.POSITIVE_INFINITY,
    attempts: 1,
  };
  // If stdin is a file or a pipe, a script calls: it has to name the fingerprint.
  const answer = isatty(0) ? await askOnTerminal(question) : 'cannot-ask';
  if (answer === 'cannot-ask') {
    throw new MintError('usage', 'accept without a fingerprint needs a terminal', {
      hint: `mint-ssh hosts accept ${vm} ${key.fingerprint}`,
    });
  }
  return answer === 'yes' ? key.fingerprint : undefined;
}

function table(entries: readonly HostEntry[]): string {
  const rows = entries.flatMap(({ vm, pins }) =>
    pins.map((pin, at) => [
      at === 0 ? vm : '',
      pin.fingerprint,
      shortType(pin),
      evidenceOf(pin),
      pin.pinnedAt?.slice(0, 10) ?? '',
      at === 0 ? (pin.instance ?? '') : '',
    ]),
  );
  return columns(['VM', 'FINGERPRINT', 'TYPE', 'EVIDENCE', 'PINNED', 'INSTANCE'], rows, {
    maxWidth: outputWidth(),
    optional: [5, 4],
  });
}

/** A key without evidence was pinned by Mint. */
function evidenceOf({ evidence }: Pin): string {
  return evidence ?? 'by-mint';
}

/** The short name of a key type: `ed25519`, `ecdsa`, `rsa`. An unknown type is shown as it is. */
function shortType({ type }: Pin): string {
  const [, name] = /^(?:ssh-)?(ed25519|ecdsa|rsa)\b/.exec(type ?? '') ?? [];
  return name ?? printable(type ?? '-').slice(0, 12);
}

function contradicts({ pin, shown }: NonNullable<HostEntry['contradiction']>): string {
  const keys = shown.map(({ fingerprint }) => printable(fingerprint)).join(', ');
  return `${printable(pin.fingerprint)} was pinned at first use, and AWS shows ${keys}`;
}

/** The object repeats the fields of the first key at its top level, for scripts that expect one key for each VM. */
function toJson({ vm, pins, pin, refused, contradiction, problem }: HostEntry): Record<string, unknown> {
  const ofKey = (one: Pin | undefined) => ({
    fingerprint: one?.fingerprint ?? null,
    type: one?.type ?? null,
    evidence: one?.evidence ?? null,
    first_seen_at: isoTime(one?.firstSeen),
    pinned_at: isoTime(one?.pinnedAt),
  });
  return {
    vm,
    ...ofKey(pin),
    keys: pins.map(ofKey),
    console_fingerprint:
      contradiction === undefined
        ? null
        : (closest(contradiction.shown, typeOf(contradiction.pin))?.fingerprint ?? null),
    instance: pin?.instance ?? null,
    account: pin?.account ?? null,
    region: pin?.region ?? null,
    last_login_at: isoTime(pin?.lastLogin),
    refused: refused
      ? {
          fingerprint: refused.key.fingerprint,
          type: refused.key.type,
          reason: refused.reason,
          seen_at: isoTime(refused.seenAt),
          instance: refused.instance ?? null,
        }
      : null,
    problem: problem ?? null,
  };
}

function onlyName(words: readonly string[]): string {
  const [name, ...more] = words;
  if (name === undefined || more.length > 0) throw misused('which VM? give one name');
  return vmName(name);
}

function unknown(vm: string): MintError {
  return new MintError('vm-not-found', `no host key of ${vm} is known`, {
    hint: 'run: mint-ssh hosts',
  });
}

function misused(message: string): MintError {
  return new MintError('usage', message, { hint: `usage: mint-ssh ${command.usage}` });
}
