/** `mint-ssh keys`: the private keys that mint-ssh keeps, one for each profile. */
import { checkSubcommand } from '../cli/arguments.ts';
import type { Command, Invocation } from '../cli/command.ts';
import { command as shellCommand } from '../cli/shell-command.ts';
import { MintError } from '../errors.ts';
import { keyTypes } from '../keys/store/key-type.ts';
import { keyStoreDirectory } from '../keys/store/location.ts';
import { keyFormats } from '../keys/store/private-key.ts';
import { forbidCoreFiles } from '../platform/hardening.ts';
import { resolvePaths } from '../platform/paths.ts';
import { loadSettings } from '../settings/settings.ts';
import { attachKey, dedicateKey, detachKey } from './keys/attach.ts';
import { deleteKey } from './keys/delete.ts';
import { repairKeys } from './keys/doctor.ts';
import { createKey, importKey } from './keys/make.ts';
import { migrateKeys } from './keys/migrate.ts';
import { type KeysRequest, misused } from './keys/request.ts';
import { rotateKey } from './keys/rotate.ts';
import { listAll, printPublic, showKey } from './keys/show.ts';
import { exportKey, shareKey } from './keys/transfer.ts';

export const command: Command = {
  usage: 'keys [list | show PROFILE | create PROFILE | …] [--store DIR]',
  help: `Private keys that mint-ssh keeps, apart from ~/.ssh: one for each profile, for machines that have no Instance
Connect. (\`mint-ssh key\` is another command: it edits authorized_keys on a VM, for a key that you have elsewhere.)
The keys are in keys/ in the configuration directory, or in an older system's store (~/.cloudworkstation/keys,
~/.prism/keys) if only that has keys. A profile's key is named in lower case, with hyphens for spaces and
underscores; PROFILE may also be the key's name in EC2.`,
  words: [
    ['list', 'list every key: name, profile, region, number of instances, date, type', ['store', 'json']],
    ['show PROFILE', 'show all that is known about one key', ['store', 'json']],
    [
      'public [PROFILE]',
      'print the public key, for an authorized_keys; makes the key of "default" if needed',
      ['store'],
    ],
    ['create PROFILE', 'make a key', ['store', 'type', 'aws', 'json']],
    [
      'import PROFILE',
      'add the key in --key-file, or one that was shared; with --aws alone: to one more region',
      ['store', 'key-file', 'identity', 'aws', 'json'],
    ],
    ['export PROFILE', 'write the private key to --output', ['store', 'output', 'format', 'passphrase']],
    [
      'share PROFILE',
      'write the key to --output, encrypted with age for --to or with a passphrase',
      ['store', 'output', 'to', 'passphrase'],
    ],
    ['delete PROFILE', 'remove the key; shows which instances use it, and asks', ['store', 'force', 'aws']],
    [
      'rotate PROFILE [VM]',
      'replace the key on every instance, proved by logins; again to continue',
      ['store', 'type', 'aws', 'force'],
    ],
    [
      'attach PROFILE VM',
      'add the key to authorized_keys on the VM, and try it; makes the key if needed',
      ['store'],
    ],
    ['detach PROFILE VM', 'remove the key from authorized_keys on the VM', ['store', 'force']],
    ['dedicated VM', 'make a key for this VM alone (its name is VM.vm), and attach it', ['store', 'type']],
    [
      'migrate',
      'move the cws-* and prism-* keys of --from into the store, once logins have proved them',
      ['store', 'from', 'dry-run', 'keep-originals', 'force', 'aws'],
    ],
    ['doctor', 'check every file of the store, and repair what can be repaired', ['store']],
  ],
  logsIn: true,
  options: {
    store: { type: 'string', value: 'DIR', description: 'the directory with the keys (or $MINT_KEYS_DIR)' },
    type: {
      type: 'string',
      value: 'TYPE',
      description: 'the type of the key',
      values: keyTypes,
    },
    'key-file': {
      type: 'string',
      value: 'FILE',
      description: 'the key: OpenSSH, PKCS#1, PKCS#8, SEC1, or encrypted with age',
    },
    identity: {
      type: 'string',
      value: 'FILE',
      description: 'the identity file of age that opens the key file',
    },
    output: { type: 'string', value: 'FILE', description: 'a file that does not exist yet' },
    format: { type: 'string', value: 'FORMAT', description: 'the format of the file', values: keyFormats },
    passphrase: {
      type: 'boolean',
      description: 'ask for a passphrase that protects the file',
    },
    to: {
      type: 'string',
      value: 'RECIPIENT',
      multiple: true,
      description: 'age1…, or a file of such lines; again for more',
    },
    from: { type: 'string', value: 'DIR', description: 'the directory to read, instead of ~/.ssh' },
    'dry-run': { type: 'boolean', description: 'only print what would be done' },
    'keep-originals': { type: 'boolean', description: 'remove nothing' },
    aws: {
      type: 'boolean',
      description: 'in EC2 as well',
    },
    force: {
      type: 'boolean',
      description: 'do not ask; go on where a VM cannot be reached',
    },
    json: { type: 'boolean', description: 'print JSON: see docs/json.md' },
  },
  run,
};

/** A subcommand: its function, and what it is given. */
interface Action {
  readonly run: (request: KeysRequest) => Promise<number>;
  readonly given: readonly ('profile' | 'vm')[];
  /** Whether the last one may be omitted. */
  readonly isLastOptional?: boolean;
  /** The default profile. */
  readonly profile?: string;
}

const actions: Readonly<Record<string, Action>> = {
  list: { run: listAll, given: [] },
  show: { run: showKey, given: ['profile'] },
  public: { run: printPublic, given: ['profile'], profile: 'default' },
  create: { run: createKey, given: ['profile'] },
  import: { run: importKey, given: ['profile'] },
  export: { run: exportKey, given: ['profile'] },
  share: { run: shareKey, given: ['profile'] },
  delete: { run: deleteKey, given: ['profile'] },
  rotate: {
    run: rotateKey,
    given: ['profile', 'vm'],
    isLastOptional: true,
  },
  attach: { run: attachKey, given: ['profile', 'vm'] },
  detach: { run: detachKey, given: ['profile', 'vm'] },
  dedicated: { run: dedicateKey, given: ['vm'] },
  migrate: {
    run: migrateKeys,
    given: [],
  },
  doctor: { run: ({ directory }) => repairKeys(directory), given: [] },
};

async function run({ positionals, values, globals }: Invocation): Promise<number> {
  forbidCoreFiles({ wait: true });
  const [word = 'list', ...words] = positionals;
  if (word === 'add' || word === 'remove') throw meantKey(word);
  checkSubcommand(command, word, values);
  const action = actions[word];
  if (action === undefined) throw misused(`unknown command: keys ${word}`);
  const { given, isLastOptional = false, profile: usual } = action;
  if (words.length > given.length) throw misused(`${word} takes ${taken(given)}`);
  const named = new Map(given.map((what, at) => [what, words[at]]));
  const profile = named.get('profile') ?? usual;
  if (given.includes('profile') && profile === undefined) throw misused('missing argument: PROFILE');
  if (given.includes('vm') && !isLastOptional && named.get('vm') === undefined) {
    throw misused('missing argument: VM');
  }

  const paths = resolvePaths({ configDir: globals.configDir });
  const settings = () => loadSettings(paths, { region: globals.region, profile: globals.profile });
  const region = () =>
    settings().named('default').region ??
    (process.env['AWS_REGION'] || process.env['AWS_DEFAULT_REGION'] || undefined);
  return action.run({
    word,
    directory: keyStoreDirectory(paths, values['store'] as string | undefined),
    profile: profile ?? '',
    vm: named.get('vm') ?? '',
    values,
    paths,
    globals,
    settings,
    region,
  });
}

/** `key` and `keys` are easily confused: names the one that was meant. */
function meantKey(word: string): MintError {
  return new MintError('usage', `unknown command: keys ${word}`, {
    hint: `${shellCommand`mint-ssh key ${word}`} edits authorized_keys on a VM; mint-ssh keys manages the private keys that mint-ssh keeps`,
  });
}

function taken(given: Action['given']): string {
  const [first, second] = given;
  if (first === undefined) return 'no profile';
  if (second !== undefined) return 'one profile and one VM';
  return first === 'vm' ? 'one VM' : 'one profile';
}
