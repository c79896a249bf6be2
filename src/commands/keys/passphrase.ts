/** Asks for the passphrases of managed keys, on the terminal or through SSH_ASKPASS only. */
import type { KeyObject } from 'node:crypto';
import { askSecret } from '../../cli/secret.ts';
import { MintError } from '../../errors.ts';
import { parseKeyFile } from '../../keys/store/key-file.ts';
import { openKeyFile } from '../../keys/store/private-key.ts';

/** The shortest passphrase in characters: an attacker who has the file can try passphrases offline. */
const minPassphraseLength = 12;

/** Opens a key, and asks for its passphrase if it has one. */
export async function openWithPassphrase(
  bytes: Buffer,
  name: string,
): Promise<{ readonly key: KeyObject; readonly passphrase: string | undefined }> {
  const file = parseKeyFile(bytes);
  const passphrase = file.encrypted ? await askPassphrase(`Passphrase of the key in ${name}: `) : undefined;
  return { key: await openKeyFile(file, passphrase), passphrase };
}

/**
 * Asks for a passphrase.
 * @throws MintError `key-passphrase` if the user gives none or cannot be asked
 */
export async function askPassphrase(prompt: string): Promise<string> {
  const answer = await askSecret(prompt);
  if (answer === 'cannot-ask') {
    throw new MintError('key-passphrase', 'cannot ask for the passphrase', {
      hint: 'run it on a terminal, or set SSH_ASKPASS and SSH_ASKPASS_REQUIRE=force',
    });
  }
  if (typeof answer === 'string')
    throw new MintError('key-passphrase', 'no passphrase was given; nothing has changed');
  return answer.text;
}

/**
 * Asks for a new passphrase, twice.
 * @throws MintError `key-passphrase` if the two differ or it is too short
 */
export async function askNewPassphrase(what: string): Promise<string> {
  const passphrase = await askPassphrase(`New passphrase for ${what}: `);
  if ([...passphrase].length < minPassphraseLength) {
    const message = `the passphrase is shorter than ${minPassphraseLength} characters; nothing was written`;
    throw new MintError('key-passphrase', message, { hint: 'use several words' });
  }
  if ((await askPassphrase('The same again: ')) === passphrase) return passphrase;
  throw new MintError('key-passphrase', 'the two passphrases differ; nothing was written');
}
