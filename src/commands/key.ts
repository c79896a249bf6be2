/** `mint-ssh key`: keys in a VM's authorized_keys, for clients that cannot use Instance Connect. */
import { isIPv6 } from 'node:net';
import { checkSubcommand } from '../cli/arguments.ts';
import { hasColour } from '../cli/colour.ts';
import type { Command, Invocation } from '../cli/command.ts';
import { command as shellCommand } from '../cli/shell-command.ts';
import { hint, print, printable, printJson, say } from '../cli/terminal.ts';
import { MintError } from '../errors.ts';
import { type AuthorizedKey, addKey, authorizedKeys, withoutKeys } from '../keys/authorized-keys.ts';
import { isoExpiry, shownExpiry } from '../keys/expiry.ts';
import { keyListJson, keyTable } from '../keys/key-list.ts';
import { readKeySource } from '../keys/key-source.ts';
import { parseLifetime } from '../keys/lifetime.ts';
import { type PublicKey, parsePublicKey, publicKeyText } from '../keys/public-key.ts';
import { type Change, changeRemoteFile, type RemoteFile, type RemoteOptions } from '../keys/remote-file.ts';
import { withSessions } from '../keys/vm-session.ts';
import { appendAudit } from '../platform/audit.ts';
import { thisCaller } from '../platform/caller.ts';
import { resolvePaths } from '../platform/paths.ts';
import { knownVm, loadSettings } from '../settings/settings.ts';
import { vmName } from '../settings/vm-name.ts';
import type { Login } from '../ssh-config/login-config.ts';
import { TrustStore } from '../trust/store.ts';
import { readLastAddress } from '../vms/last-address.ts';
import { scopeOf } from '../vms/names.ts';
import { VmCache } from '../vms/vm-cache.ts';

export const command: Command = {
  usage: 'key [add VM KEY|FILE|- | list VM | remove VM FINGERPRINT] [--json]',
  help: `Edits ~/.ssh/authorized_keys on a VM, for clients that cannot use Instance Connect: a phone, a tablet.
mint-ssh logs in through Instance Connect to edit the file. A key that is already in it is left as it is, with its
comment and options. Of a certificate, the key inside is added: authorized_keys takes no certificates.`,
  words: [
    [
      'add VM KEY|FILE|-',
      'authorize this public key (in quotes, its file, or stdin), and print what the client needs',
      ['expires', 'comment', 'json'],
    ],
    ['list VM', 'list the authorized keys', ['json']],
    ['remove VM FINGERPRINT', 'remove every line of the key with this fingerprint', ['json']],
  ],
  logsIn: true,
  options: {
    expires: {
      type: 'string',
      value: 'TIME',
      description: 'expire after TIME (90m, 12h, 30d, 2w); for an authorized key, restart the time',
    },
    comment: { type: 'string', value: 'TEXT', description: 'use this comment instead of the key’s own' },
    json: { type: 'boolean', description: 'print JSON: see docs/json.md' },
  },
  run,
};

/** What `mint-ssh keys` can do. */
const managedKeyWords = new Set(
  'show public create import export share delete rotate attach detach dedicated migrate doctor'.split(' '),
);

interface Request {
  readonly login: Login;
  readonly words: readonly string[];
  readonly values: Invocation['values'];
}

const actions: Readonly<Record<string, (request: Request) => Promise<void>>> = { add, list, remove };

async function run({ positionals, values, rest, globals }: Invocation): Promise<number> {
  const [word, given, ...words] = [...positionals, ...(rest ?? [])];
  if (word === undefined) throw misused('missing command: add, list or remove');
  if (managedKeyWords.has(word)) throw meantKeys(word);
  checkSubcommand(command, word, values);
  if (given === undefined) throw misused('missing argument: VM');
  const name = vmName(given);
  const paths = resolvePaths({ configDir: globals.configDir });
  const settings = loadSettings(paths, { profile: globals.profile, region: globals.region });
  await actions[word]?.({ login: { paths, vm: knownVm(settings, name), globals }, words, values });
  return 0;
}

async function add({ login, words, values }: Request): Promise<void> {
  if (words.length === 0) throw misused('which key? give it in quotes, a file, or - for stdin');
  const lifetime = values['expires'] as string | undefined;
  const seconds = lifetime === undefined ? 0 : parseLifetime(lifetime);
  const key = await parsePublicKey(readKeySource(words), values['comment'] as string | undefined);
  const vm = login.vm.name;
  const line = publicKeyText(key);
  const { addition, expiry } = await onVm(login, { mode: 'change', seconds }, ({ bytes, ...at }) => {
    const outcome = addKey(bytes, { blob: key.blob, line }, at);
    const after = 'file' in outcome ? outcome.file : undefined;
    return { bytes: after, result: { addition: outcome, expiry: at.expiry } };
  });
  if (addition.kind === 'bound' || addition.kind === 'expired')
    throw existingKey(vm, addition.key, addition.kind);
  if (addition.kind !== 'present') note(login, 'key-added', 'key add', key.fingerprint);

  const expires = addition.kind === 'present' ? addition.key.expires : expiry;
  if (values['json'] !== true) reportAddition(vm, key, addition.kind, expires);
  await reportClient(login, { key, kind: addition.kind, expires }, values['json'] === true);
}

function reportAddition(
  vm: string,
  key: PublicKey,
  kind: 'added' | 'renewed' | 'present',
  expires?: string,
): void {
  if (key.certified)
    say(
      'authorized_keys takes no certificates: the key inside is used, without the limits of the certificate',
    );
  const until = expires === undefined ? '' : `, until ${shownExpiry(expires)} by its clock`;
  const words = { added: 'now accepts', renewed: 'accepts with a new expiry', present: 'already accepts' }[
    kind
  ];
  say(`${vm} ${words} ${key.fingerprint} (${key.kind})${until}`);
  if (kind === 'present' && expires !== undefined) hint('to restart the time, add it with --expires');
}

/**
 * Prints what the user enters in a client, and the host key to compare with the one that the client shows. On a terminal
 * also a QR code of the connection, for the camera of a phone.
 */
async function reportClient(
  { paths, vm }: Login,
  {
    key,
    kind,
    expires,
  }: { readonly key: PublicKey; readonly kind: string; readonly expires: string | undefined },
  json: boolean,
): Promise<void> {
  const pin = new TrustStore(paths).show(vm.name)?.pin;
  const hostName = vm.host ?? knownAddress(paths, vm);
  if (json) {
    const client = { host: hostName ?? null, port: vm.port, user: vm.user };
    const host = { host_key_fingerprint: pin?.fingerprint ?? null, host_key_type: pin?.type ?? null };
    const added = {
      fingerprint: key.fingerprint,
      type: key.type,
      comment: key.comment,
      expires_at: isoExpiry(expires),
    };
    printJson({ vm: vm.name, outcome: kind, ...added, ...client, ...host });
    return;
  }
  const type = pin?.type === undefined ? '' : ` (${pin.type})`;
  const lines = [
    ['host', hostName ?? 'not known: `mint-ssh vms --refresh` shows it'],
    ['port', String(vm.port)],
    ['user', vm.user],
    ['host key', pin === undefined ? 'not known' : `${pin.fingerprint}${type}`],
  ];
  print(lines.map(([name, value]) => `${`${name}:`.padEnd(10)}${printable(value ?? '')}`).join('\n'));
  const { isTTY, columns } = process.stdout;
  if (hostName === undefined || !isTTY || process.env['TERM'] === 'dumb') return;
  const { qrCode } = await import('../cli/qr-code.ts');
  const link = connectionUrl({ host: hostName, port: vm.port, user: vm.user });
  const code = qrCode(link, { columns, hasColour: hasColour(process.env) });
  if (code !== undefined) print(`\n${link}\n${code}`);
}

/** The connection as a URL: draft-salowey-secsh-uri. */
function connectionUrl({
  host,
  port,
  user,
}: {
  readonly host: string;
  readonly port: number;
  readonly user: string;
}): string {
  return `ssh://${encodeURIComponent(user)}@${isIPv6(host) ? `[${host}]` : encodeURIComponent(host)}:${port}`;
}

/**
 * The address that the last login used, for a VM that was found by its tag or ID. Prefers a public address, because the
 * client runs on another machine.
 */
function knownAddress(paths: Login['paths'], vm: Login['vm']): string | undefined {
  const scope = new VmCache(paths).scope(scopeOf({ caller: thisCaller(), settings: vm }));
  const found = scope.vms.get(vm.name);
  const met = readLastAddress(paths, vm.name)?.host;
  return found?.publicAddress ?? found?.ipv6 ?? met ?? found?.privateAddress;
}

async function list({ login, words, values }: Request): Promise<void> {
  if (words.length > 0) throw misused('list takes one name');
  const { bytes, clock } = await onVm(login, { mode: 'look', seconds: 0 }, (file) => ({
    bytes: undefined,
    result: file,
  }));
  const keys = authorizedKeys(bytes);
  if (values['json'] === true) {
    printJson(keyListJson(keys, clock));
    return;
  }
  if (keys.length === 0) say(`authorized_keys on ${login.vm.name} has no keys`);
  else print(keyTable(keys, clock));
}

async function remove({ login, words, values }: Request): Promise<void> {
  const [given, ...more] = words;
  if (given === undefined || more.length > 0) throw misused('remove takes one fingerprint');
  const fingerprint = given.replace(/=$/, '');
  if (!/^SHA256:[A-Za-z0-9+/]{43}$/.test(fingerprint)) {
    throw new MintError('usage', 'a fingerprint is "SHA256:" and 43 base64 characters', {
      hint: `copy it from \`mint-ssh key list ${login.vm.name}\``,
    });
  }
  const vm = login.vm.name;
  const count = await onVm(login, { mode: 'remove', seconds: 0 }, ({ bytes }) => {
    const keys = authorizedKeys(bytes).filter((key) => key.fingerprint === fingerprint);
    return { bytes: keys.length === 0 ? undefined : withoutKeys(bytes, keys), result: keys.length };
  });
  if (count === 0) {
    throw new MintError('key-not-found', `${vm} does not accept the key ${fingerprint}`, {
      hint: `run: mint-ssh key list ${vm}`,
    });
  }
  note(login, 'key-removed', 'key remove', fingerprint);
  if (values['json'] === true) printJson({ vm, fingerprint, removed_lines: count });
  else say(`removed ${fingerprint} from ${vm}${count === 1 ? '' : ` (${count} lines)`}`);
}

function note(
  { paths, vm }: Login,
  event: 'key-added' | 'key-removed',
  command: string,
  keyFingerprint: string,
): void {
  appendAudit(paths, { event, command, vm: vm.name, instance: vm.instance, user: vm.user, keyFingerprint });
}

function onVm<T>(
  login: Login,
  options: Pick<RemoteOptions, 'mode' | 'seconds'>,
  decide: (file: RemoteFile) => Change<T>,
): Promise<T> {
  const vm = login.vm.name;
  return withSessions(login, (connect) => changeRemoteFile(connect, { vm, ...options }, decide));
}

function existingKey(vm: string, key: AuthorizedKey, kind: 'bound' | 'expired'): MintError {
  const remedy = `\`mint-ssh key remove ${vm} ${key.fingerprint}\` first, then add it again`;
  if (kind === 'expired') {
    const when = key.expires === undefined ? '' : ` since ${shownExpiry(key.expires)}`;
    return new MintError('key-exists', `${vm} already has this key, expired${when}`, {
      hint: `add it with --expires, or ${remedy}`,
    });
  }
  const how = key.options === '' ? 'without an expiry' : 'with options of its own';
  return new MintError('key-exists', `${vm} already accepts this key, ${how}; nothing was changed`, {
    hint: remedy,
  });
}

/** `key` and `keys` are easily confused: names the one that was meant. */
function meantKeys(word: string): MintError {
  return new MintError('usage', `unknown command: key ${word}`, {
    hint: `${shellCommand`mint-ssh keys ${word}`} manages the private keys that mint-ssh keeps; mint-ssh key edits authorized_keys on a VM`,
  });
}

function misused(message: string): MintError {
  return new MintError('usage', message, { hint: `usage: mint-ssh ${command.usage}` });
}
