/** One key of the store on its way to a signature: opened, with the word of a person where it has a passphrase. */
import type { KeyObject } from 'node:crypto';
import { MintError } from '../errors.ts';
import { parseKeyFile } from '../keys/store/key-file.ts';
import { publicBlob } from '../keys/store/key-type.ts';
import type { ServedKey } from '../keys/store/key-use.ts';
import { openKeyFile } from '../keys/store/private-key.ts';
import type { SecretAnswer, SecretQuestion } from './control/protocol.ts';
import { collectGarbage } from './credentials/key-memory.ts';
import type { AskSecret } from './questions.ts';

/** How long a person has for a passphrase, in seconds, and how often a wrong one is asked for again. */
const answerSeconds = 40;
const attempts = 3;

/** A key as it is served to a VM. */
export interface ManagedKey {
  readonly directory: string;
  readonly name: string;
  readonly blob: Buffer;
  readonly served: ServedKey;
}

export interface OpenedKey {
  readonly privateKey: KeyObject;
  readonly hadPassphrase: boolean;
}

/**
 * @param waiting who may be asked; others may be added meanwhile
 * @throws MintError `key-passphrase`, `key-invalid`, `key-format`, `key-store`
 */
export async function openManagedKey(key: ManagedKey, waiting: AskSecret[]): Promise<OpenedKey> {
  const file = parseKeyFile(key.served.privateKey);
  if (!file.encrypted) return opened(key, await openKeyFile(file, undefined), false);
  for (let attempt = 1; ; attempt += 1) {
    const question = { prompt: promptFor(key.name, attempt), seconds: answerSeconds };
    const passphrase = typed(await askFirst(waiting, question), key.name);
    try {
      return opened(key, await openKeyFile(file, passphrase.toString('utf8')), true);
    } catch (error) {
      const isWrong = error instanceof MintError && error.code === 'key-passphrase';
      if (!isWrong || attempt >= attempts) throw error;
    } finally {
      passphrase.fill(0);
      collectGarbage();
    }
  }
}

/** The first that reaches a person asks, and the others get what it brings. */
async function askFirst(waiting: AskSecret[], question: SecretQuestion): Promise<SecretAnswer> {
  for (let [ask] = waiting; ask !== undefined; [ask] = waiting) {
    const answer = await ask(question);
    if (answer !== 'nobody') return answer;
    waiting.shift();
  }
  return 'nobody';
}

function typed(answer: SecretAnswer, name: string): Buffer {
  if (typeof answer !== 'string') return answer.secret;
  const why = {
    no: 'and none was given',
    timeout: 'and nobody answered',
    nobody: 'and there is nobody to ask',
  }[answer];
  throw new MintError('key-passphrase', `the key ${name} has a passphrase, ${why}`, {
    hint: 'connect on a terminal, or with SSH_ASKPASS set; the key then stays unlocked for `key_lifetime`',
  });
}

function promptFor(name: string, attempt: number): string {
  return `${attempt > 1 ? 'That is not it. ' : ''}Passphrase of the key ${name}: `;
}

/** @throws MintError `key-store` where the file holds another key than its public half says */
function opened({ name, blob }: ManagedKey, privateKey: KeyObject, hadPassphrase: boolean): OpenedKey {
  if (publicBlob(privateKey).equals(blob)) return { privateKey, hadPassphrase };
  throw new MintError('key-store', `the two files of the key ${name} hold different keys`, {
    hint: 'mint-ssh keys doctor',
  });
}
