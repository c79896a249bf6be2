/** `mint-ssh keys`: the keys that are kept here, one for each profile. */
import type { Command, Invocation } from '../cli/command.ts';
import { hint, print, printable, say } from '../cli/terminal.ts';
import { askOnTerminal } from '../cli/terminal-question.ts';
import { quoted } from '../config/files.ts';
import { resolvePaths } from '../config/paths.ts';
import { loadSettings } from '../config/settings.ts';
import { MintError } from '../errors.ts';
import {
  addKey,
  checkFree,
  findKey,
  keyFiles,
  listKeys,
  lookUp,
  readPrivateKey,
  readPublicKey,
  removeKey,
} from '../keys/store/key-store.ts';
import { type KeyDetails, managedKeyJson, managedKeyTable, managedKeyText } from '../keys/store/key-table.ts';
import { blobOfLine, generateKey, keyTypes } from '../keys/store/key-type.ts';
import { keyStoreDirectory } from '../keys/store/location.ts';
import type { KeyRecord } from '../keys/store/metadata.ts';
import { awsKeyName, profileName } from '../keys/store/profile-name.ts';
import { parseHostKey } from '../ssh/hostkey.ts';
import { repairKeys } from './keys-doctor.ts';
import { exportKey, importKey, materialOf, shareKey } from './keys-transfer.ts';

export const command: Command = {
  usage: 'keys [list | show PROFILE | create PROFILE | …] [--store DIR]',
  help: `Keys that are kept here, apart from ~/.ssh: one for each profile, for machines that have no Instance Connect.
They stand in keys/ in the configuration directory, or in an older system's store (~/.cloudworkstation/keys,
~/.prism/keys) where only that has any. A profile's key is named in lower case, with hyphens for spaces and
underscores; PROFILE may also be the key's name in EC2.`,
  words: [
    ['list', 'every key: its name, profile, region, instances, when it was made, its type'],
    ['show PROFILE', 'all that is known of one key'],
    [
      'public [PROFILE]',
      'the public key, for an authorized_keys; makes the one of "default" when it is not there',
    ],
    ['create PROFILE', 'make a key, and keep it'],
    ['import PROFILE', 'keep the key in --key-file, or the one that someone shared'],
    ['export PROFILE', 'write the private key to --output'],
    ['share PROFILE', 'write the key to --output, encrypted with age for --to or with a passphrase'],
    ['delete PROFILE', 'remove the key; names what uses it, and asks'],
    ['doctor', 'look at every file of the store, and mend what can be mended'],
  ],
  options: {
    store: { type: 'string', value: 'DIR', description: 'the directory with the keys (or $MINT_KEYS_DIR)' },
    type: {
      type: 'string',
      value: 'TYPE',
      description: `create: ${keyTypes.join(', ')}; ed25519 unless told`,
    },
    'key-file': { type: 'string', value: 'FILE', description: 'import: OpenSSH, PKCS#1, PKCS#8, SEC1, age' },
    identity: {
      type: 'string',
      value: 'FILE',
      description: 'import: the identity file of age that opens it',
    },
    output: { type: 'string', value: 'FILE', description: 'export, share: a file that is not there yet' },
    format: { type: 'string', value: 'FORMAT', description: 'export: openssh (unless told), pem, pkcs8' },
    passphrase: {
      type: 'boolean',
      description: 'export, share: ask for a passphrase that protects the file',
    },
    to: {
      type: 'string',
      value: 'RECIPIENT',
      multiple: true,
      description: 'share: age1…, or a file of such lines; again for more',
    },
    force: { type: 'boolean', description: 'delete: without asking' },
    json: { type: 'boolean', description: 'list, show, create, import: print JSON' },
  },
  run,
};

/** What each word takes besides --store. */
const takes: Readonly<Record<string, readonly string[]>> = {
  list: ['json'],
  show: ['json'],
  public: [],
  create: ['type', 'json'],
  import: ['key-file', 'identity', 'json'],
  export: ['output', 'format', 'passphrase'],
  share: ['output', 'to', 'passphrase'],
  delete: ['force'],
  doctor: [],
};

/** What every action is given. */
export interface KeysRequest {
  readonly directory: string;
  /** Empty for those that take none. */
  readonly profile: string;
  readonly values: Invocation['values'];
  /** For the key's name in EC2; undefined where none is set. Reads the settings. */
  readonly region: () => string | undefined;
}

const actions: Readonly<Record<string, (request: KeysRequest) => Promise<number>>> = {
  list,
  show,
  public: printPublic,
  create,
  import: async (request) => reportMade(request, await importKey(request)),
  export: exportKey,
  share: shareKey,
  delete: deleteKey,
  doctor: ({ directory }) => repairKeys(directory),
};

async function run({ positionals, values, globals }: Invocation): Promise<number> {
  const [word = 'list', given, ...more] = positionals;
  const action = Object.hasOwn(actions, word) ? actions[word] : undefined;
  if (action === undefined) throw misused(`keys cannot "${printable(word.slice(0, 40))}"`);
  for (const option of Object.keys(values)) {
    const own = Object.hasOwn(command.options, option) && option !== 'store';
    if (own && !takes[word]?.includes(option)) throw misused(`--${option} does not go with ${word}`);
  }
  const takesNone = word === 'list' || word === 'doctor';
  if (more.length > 0 || (takesNone && given !== undefined)) {
    throw misused(`${word} takes ${takesNone ? 'no profile' : 'one profile'}`);
  }
  const profile = given ?? (word === 'public' ? 'default' : '');
  if (!takesNone && given === undefined && word !== 'public') throw misused('which profile?');
  const paths = resolvePaths({ configDir: globals.configDir });
  const region = () =>
    loadSettings(paths, { region: globals.region }).named('default').region ??
    (process.env['AWS_REGION'] || process.env['AWS_DEFAULT_REGION'] || undefined);
  const directory = keyStoreDirectory(paths, values['store'] as string | undefined);
  return action({ directory, profile, values, region });
}

async function list({ directory, values }: KeysRequest): Promise<number> {
  const keys = listKeys(directory);
  if (values['json'] === true) print(JSON.stringify(keys.map(managedKeyJson), undefined, 2));
  else if (keys.length > 0) print(managedKeyTable(keys));
  else say(`there are no keys in ${quoted(directory)}: \`mint-ssh keys create PROFILE\` makes one`);
  const problems = keys.flatMap(({ name }) => problemOf(directory, name) ?? []);
  for (const { message, code } of problems) say(`error: ${message} (${code})`);
  if (problems.length > 0) hint('`mint-ssh keys doctor` mends what can be mended');
  return problems.length > 0 ? 1 : 0;
}

async function show({ directory, profile, values }: KeysRequest): Promise<number> {
  const key = findKey(directory, profile);
  readPrivateKey(directory, key.name);
  const details = detailsOf(directory, key);
  if (values['json'] === true) printJson(key, details);
  else print(managedKeyText(key, details));
  return 0;
}

async function printPublic(request: KeysRequest): Promise<number> {
  const { directory, profile } = request;
  if (profileName(profile) === 'default' && lookUp(listKeys(directory), profile) === undefined) {
    await makeKey(request, 'ed25519');
    say(`made the key of "default" in ${quoted(directory)}`);
  }
  print(detailsOf(directory, findKey(directory, profile)).publicKey);
  return 0;
}

async function create(request: KeysRequest): Promise<number> {
  const type = (request.values['type'] as string | undefined) ?? 'ed25519';
  return reportMade(request, await makeKey(request, type));
}

async function makeKey({ directory, profile, region }: KeysRequest, type: string): Promise<KeyRecord> {
  const name = profileName(profile);
  const place = { profile, region: region() };
  awsKeyName(name, place.region);
  checkFree(directory, profile);
  return addKey(directory, place, await materialOf(await generateKey(type), name));
}

function reportMade({ directory, values }: KeysRequest, key: KeyRecord): number {
  const details = detailsOf(directory, key);
  if (values['json'] === true) {
    printJson(key, details);
    return 0;
  }
  say(`${key.name} is ${details.fingerprint} (${key.type}), in ${quoted(directory)}`);
  hint(`\`mint-ssh keys public ${key.name}\` prints what its machines have to let in`);
  return 0;
}

function printJson(key: KeyRecord, { path, fingerprint, publicKey }: KeyDetails): void {
  const json = { ...managedKeyJson(key), path, fingerprint, public_key: publicKey };
  print(JSON.stringify(json, undefined, 2));
}

/** Works also where the files are gone: that is how a person says so. */
async function deleteKey({ directory, profile, values }: KeysRequest): Promise<number> {
  const { name, instances } = findKey(directory, profile);
  if (values['force'] !== true) {
    const used =
      instances.length === 0 ? [] : [`${name} lets you in to ${printable(instances.join(', '))}.`, ''];
    const answer = await askOnTerminal({
      framed: used.join('\n'),
      prompt: `Delete the key of ${name}? It cannot be brought back. (yes/no) `,
      accepts: ['yes'],
      seconds: Number.POSITIVE_INFINITY,
    });
    if (answer === 'nobody') {
      if (instances.length > 0) say(`${name} is used by ${printable(instances.join(', '))}`);
      throw new MintError('usage', 'there is no terminal to ask on, and nothing was deleted', {
        hint: 'run it again with --force',
      });
    }
    if (answer !== 'yes') {
      say('nothing was deleted');
      return 1;
    }
  }
  removeKey(directory, name);
  say(`the key of ${name} is gone`);
  return 0;
}

function detailsOf(directory: string, { name }: KeyRecord): KeyDetails {
  const publicKey = readPublicKey(directory, name);
  const blob = blobOfLine(publicKey);
  const path = keyFiles(directory, name).privateKey;
  if (blob !== undefined) return { path, publicKey, fingerprint: parseHostKey(blob).fingerprint };
  throw new MintError('key-store', `the public key of ${name} is damaged`, {
    hint: '`mint-ssh keys doctor` makes it anew from the private one',
  });
}

function problemOf(directory: string, name: string): MintError | undefined {
  try {
    readPrivateKey(directory, name);
    readPublicKey(directory, name);
    return undefined;
  } catch (error) {
    if (error instanceof MintError) return error;
    throw error;
  }
}

function misused(message: string): MintError {
  return new MintError('usage', message, { hint: '`mint-ssh keys --help` shows what there is' });
}
