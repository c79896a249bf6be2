/** The passphrases of kept keys, asked on the terminal or through SSH_ASKPASS and nowhere else. */
import type { KeyObject } from 'node:crypto';
import { askSecret } from '../cli/secret.ts';
import { MintError } from '../errors.ts';
import { parseKeyFile } from '../keys/store/key-file.ts';
import { openKeyFile } from '../keys/store/private-key.ts';

/** Characters: whoever has the file can try passphrases for as long as they like. */
const minPassphraseLength = 12;

/** Opens a key, and asks for its passphrase where it has one. */
export async function openWithPassphrase(
  bytes: Buffer,
  name: string,
): Promise<{ readonly key: KeyObject; readonly passphrase: string | undefined }> {
  const file = parseKeyFile(bytes);
  const passphrase = file.encrypted ? await askPassphrase(`Passphrase of the key in ${name}: `) : undefined;
  return { key: await openKeyFile(file, passphrase), passphrase };
}

/** @throws MintError `key-passphrase` where nobody answers */
export async function askPassphrase(prompt: string): Promise<string> {
  const answer = await askSecret(prompt);
  if (answer === 'nobody') {
    throw new MintError('key-passphrase', 'a passphrase is needed, and there is nobody to ask for it', {
      hint: 'run it on a terminal, or set SSH_ASKPASS and SSH_ASKPASS_REQUIRE=force',
    });
  }
  if (typeof answer === 'string')
    throw new MintError('key-passphrase', 'no passphrase was given; nothing has changed');
  return answer.text;
}

/** The same, twice. */
export async function askNewPassphrase(what: string): Promise<string> {
  const passphrase = await askPassphrase(`New passphrase for ${what}: `);
  if ([...passphrase].length < minPassphraseLength) {
    const message = `the passphrase is shorter than ${minPassphraseLength} characters; nothing was written`;
    throw new MintError('key-passphrase', message, { hint: 'take several words' });
  }
  if ((await askPassphrase('The same again: ')) === passphrase) return passphrase;
  throw new MintError('key-passphrase', 'the two passphrases differ; nothing was written');
}
