/** `keys export`, `import` and `share`: copies private keys out of the store and into it. */
import { existsSync, lstatSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { command } from '../../cli/shell-command.ts';
import { hint, say } from '../../cli/terminal.ts';
import { MintError } from '../../errors.ts';
import { parseKeyFile, refusePublicKey } from '../../keys/store/key-file.ts';
import { materialOf } from '../../keys/store/key-material.ts';
import { findKey } from '../../keys/store/key-store.ts';
import { publicBlob } from '../../keys/store/key-type.ts';
import { encodePrivateKey, keyFormats } from '../../keys/store/private-key.ts';
import {
  decryptKey,
  encryptKey,
  identitiesOf,
  isRecipient,
  parseSharedFile,
  type Readers,
  recipientsOf,
} from '../../keys/store/shared-file.ts';
import { type KeyMaterial, publicBlobOf, readPrivateKey } from '../../keys/store/store-files.ts';
import { ioFailed, quoted, readPrivateFile, writeAtomic } from '../../platform/files.ts';
import { parseHostKey } from '../../ssh/hostkey.ts';
import { askNewPassphrase, askPassphrase, openWithPassphrase } from './passphrase.ts';
import { type KeysRequest, misused, noteKey } from './request.ts';

const maxBytes = 65_536;

/**
 * `keys export`: writes the private key to a new file of mode 0600.
 * @returns the exit status
 * @throws MintError `usage`, `key-not-found`, `key-invalid`, `io-failed`
 */
export async function exportKey(request: KeysRequest): Promise<number> {
  const { directory, profile, values } = request;
  const wanted = (values['format'] as string | undefined) ?? 'openssh';
  const format = keyFormats.find((one) => one === wanted);
  if (format === undefined) throw misused(`--format is one of ${keyFormats.join(', ')}`);
  const output = newFile(values['output'] as string | undefined);
  const { name } = findKey(directory, profile);
  const { key } = await openWithPassphrase(readPrivateKey(directory, name), name);
  const fitting = { comment: name };
  // Check that the format can hold the key before asking for a passphrase.
  await encodePrivateKey(key, format, fitting);
  const passphrase = values['passphrase'] === true ? await askNewPassphrase(quoted(output)) : undefined;
  writeNew(output, await encodePrivateKey(key, format, { ...fitting, passphrase }));
  note(request, 'key-exported', name);
  const how = passphrase === undefined ? 'without a passphrase' : 'under its passphrase';
  say(`the private key of ${name} is in ${quoted(output)}, ${how}`);
  if (format === 'pkcs8' && key.asymmetricKeyType === 'ed25519') {
    hint('OpenSSH before 9.6 does not read an ed25519 key in this format: for it, export it as openssh');
  }
  return 0;
}

/** The key in --key-file, with its own passphrase. */
export async function readKeyFile(
  { values }: KeysRequest,
  name: string,
): Promise<{ readonly material: KeyMaterial; readonly blob: Buffer }> {
  const path = values['key-file'] as string | undefined;
  if (path === undefined) throw misused('which key? name its file with --key-file');
  const bytes = await unshared(readKey(path), path, values['identity'] as string | undefined);
  const { key, passphrase } = await openWithPassphrase(bytes, quoted(path));
  return { material: await materialOf(key, name, passphrase), blob: publicBlob(key) };
}

/**
 * `keys share`: writes the key to a new file, encrypted with age for recipients or with a passphrase.
 * @returns the exit status
 * @throws MintError `usage`, `key-not-found`, `io-failed`
 */
export async function shareKey(request: KeysRequest): Promise<number> {
  const { directory, profile, values } = request;
  const to = (values['to'] as readonly string[] | undefined) ?? [];
  const withPassphrase = values['passphrase'] === true;
  if (to.length > 0 === withPassphrase) throw misused('share takes either --to or --passphrase');
  const output = newFile(values['output'] as string | undefined);
  const { name } = findKey(directory, profile);
  const key = readPrivateKey(directory, name);
  const { encrypted } = parseKeyFile(key);
  const readers: Readers = withPassphrase
    ? { passphrase: await askNewPassphrase(quoted(output)) }
    : { recipients: to.flatMap(readRecipients) };
  writeNew(output, Buffer.from(`${(await encryptKey(key, readers)).trimEnd()}\n`));
  note(request, 'key-shared', name);
  say(
    `the key of ${name} is in ${quoted(output)}, for ${withPassphrase ? 'everyone who has the passphrase' : to.join(', ')}`,
  );
  if (encrypted) say('inside, the key keeps its own passphrase: they need that as well');
  hint(
    withPassphrase
      ? command`to import it: mint-ssh keys import ${name} --key-file ${output}`
      : command`to import it, with the identity file that age-keygen wrote: mint-ssh keys import ${name} --key-file ${output} --identity key.txt`,
  );
  return 0;
}

function note(request: KeysRequest, event: 'key-exported' | 'key-shared', key: string): void {
  const blob = publicBlobOf(request.directory, key);
  noteKey(request, { event, key, keyFingerprint: blob && parseHostKey(blob).fingerprint });
}

/** The content of an age file; any other file unchanged. */
async function unshared(bytes: Buffer, path: string, identity: string | undefined): Promise<Buffer> {
  const shared = await parseSharedFile(bytes);
  if (shared === undefined) {
    if (identity === undefined) return bytes;
    throw misused('--identity is for age files, and this is not one');
  }
  if (shared.wants === 'passphrase') {
    return decryptKey(shared, { passphrase: await askPassphrase(`Passphrase of ${quoted(path)}: `) });
  }
  if (identity === undefined) {
    throw misused('this file is for identities of age: name the file with yours by --identity');
  }
  return decryptKey(shared, { identities: identitiesOf(readNamed(identity).toString('latin1')) });
}

function readRecipients(given: string): readonly string[] {
  if (isRecipient(given)) return [given];
  if (!existsSync(given) && /^(?:age1|ssh-)/.test(given)) {
    throw misused(
      `invalid age recipient: ${quoted(given.slice(0, 80))}; use an X25519 recipient, "age1" and 58 characters`,
    );
  }
  // This file decides who can read the key, so no other user may be able to write it.
  return recipientsOf(readNamed(given, false).toString('latin1'));
}

/** Refuses a private key that others can read. The mode of a public one does not matter. */
function readKey(path: string): Buffer {
  try {
    return readNamed(path);
  } catch (error) {
    const found = statSync(path, { throwIfNoEntry: false });
    if (found?.isFile() === true && found.size <= maxBytes) refusePublicKey(readFileSync(path));
    throw error;
  }
}

/** Follows a link, if it leads to a file of the user that no other user can read. */
function readNamed(path: string, secret = true): Buffer {
  let real: string;
  try {
    real = realpathSync(path);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') throw ioFailed('read', path, cause);
    throw new MintError('io-failed', `file not found: ${quoted(path)}`, { cause });
  }
  return readPrivateFile(real, { maxBytes, tooLarge: 'key-invalid', secret }) ?? Buffer.alloc(0);
}

function newFile(path: string | undefined): string {
  if (path === undefined || path === '' || path === '-') throw misused('where to? name a file with --output');
  const parent = dirname(resolve(path));
  if (!existsSync(parent)) {
    throw new MintError('io-failed', `directory not found: ${quoted(parent)}`, {
      hint: command`mkdir -p ${parent}`,
    });
  }
  refuseExisting(path);
  return path;
}

function refuseExisting(path: string): void {
  if (lstatSync(path, { throwIfNoEntry: false }) === undefined) return;
  throw new MintError('key-exists', `${quoted(path)} already exists; left as it is`, {
    hint: 'name another file, or move that one away',
  });
}

/** Writes the file atomically, with mode 0600 from the first byte. */
function writeNew(path: string, bytes: Buffer): void {
  writeAtomic(resolve(path), bytes, { mode: 0o600, beforeRename: () => refuseExisting(path) });
}
