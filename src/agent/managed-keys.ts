/**
 * Managed keys on their way from the store to a login. One with a passphrase is asked for once and stays in memory
 * for `key_lifetime`; any other is read anew each time.
 */
import type { KeyObject } from 'node:crypto';
import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Caller } from '../aws/workers.ts';
import { acquireLock } from '../config/lock.ts';
import type { Paths } from '../config/paths.ts';
import { MintError } from '../errors.ts';
import { metadataFile, readMetadata } from '../keys/store/journal.ts';
import { parseKeyFile } from '../keys/store/key-file.ts';
import { isNamedInEc2 } from '../keys/store/key-store.ts';
import { blobOfLine, publicBlob } from '../keys/store/key-type.ts';
import { keyForVm, recordUse, type ServedKey, type WhichKey } from '../keys/store/key-use.ts';
import { keyStoreDirectory } from '../keys/store/location.ts';
import type { KeyRecord } from '../keys/store/metadata.ts';
import { openKeyFile } from '../keys/store/private-key.ts';
import type { SigningKey } from '../ssh/key-signature.ts';
import type { SecretAnswer } from './control-protocol.ts';
import { collectGarbage } from './garbage.ts';
import type { Log } from './log.ts';
import type { AskSecret } from './questions.ts';
import { type Stopwatch, startStopwatch } from './stopwatch.ts';

/** How long another process's change of the store is waited for, in milliseconds. */
const storeLimit = 5000;
/** How long a person has for a passphrase, in seconds, and how often a wrong one is asked for again. */
const answerSeconds = 40;
const attempts = 3;
/** Timers stand still while the machine sleeps: the time is looked at this often, in milliseconds. */
const lookInterval = 30_000;

/** A key as it is served to a VM. */
export interface ManagedKey {
  readonly directory: string;
  readonly name: string;
  readonly blob: Buffer;
  readonly served: ServedKey;
}

interface Unlocked {
  readonly name: string;
  readonly privateKey: KeyObject;
  readonly age: Stopwatch;
  readonly lifetime: number;
}

export class ManagedKeys {
  readonly #paths: Paths;
  readonly #log: Log;
  /** By store and public half. */
  readonly #unlocked = new Map<string, Unlocked>();
  readonly #unlocking = new Map<
    string,
    { readonly waiting: AskSecret[]; readonly result: Promise<SigningKey> }
  >();
  #known: { readonly stamp: string; readonly keys: readonly KeyRecord[] } | undefined;
  #timer: NodeJS.Timeout | undefined;
  readonly #changed: () => void;

  /** @param changed told when the last unlocked key has gone, or the first one come */
  constructor({ paths, log }: { readonly paths: Paths; readonly log: Log }, changed: () => void) {
    this.#paths = paths;
    this.#log = log;
    this.#changed = changed;
  }

  /** Names of the keys that a passphrase has unlocked. */
  get unlocked(): readonly string[] {
    return [...this.#unlocked.values()].map(({ name }) => name);
  }

  /** Whether a key is kept here that EC2 knows by this name. Looks only; a store that is broken has none. */
  has(caller: Caller, awsKeyName: string): boolean {
    try {
      const directory = this.#directory(caller);
      return this.#keys(directory).some((key) => isNamedInEc2(key, awsKeyName));
    } catch (error) {
      this.#log(`cannot look for the key ${JSON.stringify(awsKeyName)}: ${String(error)}`);
      return false;
    }
  }

  /** The key that lets in to the VM now. @throws MintError `key-not-found`, `key-store`, `unsafe-permissions` */
  async find(caller: Caller, which: WhichKey, vm: string): Promise<ManagedKey> {
    const directory = this.#directory(caller);
    await storeIsFree(directory);
    const served = keyForVm(directory, which, vm);
    const given = 'profile' in which ? which.profile : which.awsKeyName;
    if (served === undefined) {
      throw new MintError(
        'key-not-found',
        `there is no key of ${JSON.stringify(given)}, which ${vm} is to be reached with`,
        {
          hint: `mint-ssh keys create ${'profile' in which ? given : 'PROFILE'}, and put its public key on ${vm}; or set access of [vm.${vm}] in ssh.toml`,
        },
      );
    }
    const blob = blobOfLine(served.publicKey);
    if (blob === undefined) {
      throw new MintError('key-store', `the public key of ${served.record.name} is damaged`, {
        hint: 'mint-ssh keys doctor',
      });
    }
    return { directory, name: served.record.name, blob, served };
  }

  /** What a client that lists before it connects will be served; undefined where that cannot be told. */
  listed(environment: NodeJS.ProcessEnv, which: WhichKey, vm: string): Buffer | undefined {
    try {
      const served = keyForVm(keyStoreDirectory(this.#paths, undefined, environment), which, vm);
      return served && blobOfLine(served.publicKey);
    } catch {
      return undefined;
    }
  }

  /**
   * The key, to sign with. A person is asked where it has a passphrase and is not unlocked, once however many
   * connections wait. @param lifetime milliseconds for which it stays unlocked @throws MintError `key-passphrase`,
   * `key-invalid`, `key-format`, `key-store`
   */
  open(key: ManagedKey, ask: AskSecret, lifetime: number): SigningKey | Promise<SigningKey> {
    const id = idOf(key);
    const unlocked = this.#unlocked.get(id);
    if (unlocked !== undefined && unlocked.age() < unlocked.lifetime) {
      return { privateKey: unlocked.privateKey, blob: key.blob };
    }
    const unlocking = this.#unlocking.get(id);
    if (unlocking !== undefined) {
      unlocking.waiting.push(ask);
      return unlocking.result;
    }
    const waiting = [ask];
    const result = this.#open(key, waiting, lifetime).finally(() => this.#unlocking.delete(id));
    this.#unlocking.set(id, { waiting, result });
    return result;
  }

  /** Where it was used, in the store; whoever waits for a login does not wait for this. */
  recordUse({ directory, name }: ManagedKey, vm: string): void {
    if (!recordUse(directory, name, vm)) this.#log(`${vm}: cannot note the use of key ${name}`);
  }

  async #open(key: ManagedKey, waiting: AskSecret[], lifetime: number): Promise<SigningKey> {
    const file = parseKeyFile(key.served.privateKey);
    if (!file.encrypted) return whole(key, await openKeyFile(file, undefined));
    for (let attempt = 1; ; attempt += 1) {
      const passphrase = typed(
        await askFirst(waiting, { prompt: promptFor(key.name, attempt), seconds: answerSeconds }),
        key.name,
      );
      try {
        const opened = whole(key, await openKeyFile(file, passphrase.toString('utf8')));
        this.#keep(key, opened.privateKey, lifetime);
        return opened;
      } catch (error) {
        const isWrong = error instanceof MintError && error.code === 'key-passphrase';
        if (!isWrong || attempt >= attempts) throw error;
      } finally {
        passphrase.fill(0);
        collectGarbage();
      }
    }
  }

  #keep(key: ManagedKey, privateKey: KeyObject, lifetime: number): void {
    this.#unlocked.set(idOf(key), { name: key.name, privateKey, age: startStopwatch(), lifetime });
    this.#log(`the key ${key.name} is unlocked for ${Math.round(lifetime / 1000)} s`);
    this.#schedule();
    this.#changed();
  }

  /** What is over is dropped, and collected. */
  #schedule(): void {
    clearTimeout(this.#timer);
    const left = [...this.#unlocked.values()].map(({ age, lifetime }) => lifetime - age());
    if (left.length === 0) return;
    this.#timer = setTimeout(
      () => {
        for (const [id, { name, age, lifetime }] of this.#unlocked) {
          if (age() < lifetime) continue;
          this.#unlocked.delete(id);
          this.#log(`the key ${name} is locked again`);
          collectGarbage();
        }
        this.#schedule();
        this.#changed();
      },
      Math.min(lookInterval, Math.max(100, ...[Math.min(...left)])),
    ).unref();
  }

  #directory({ environment }: Caller): string {
    return keyStoreDirectory(this.#paths, undefined, environment);
  }

  /** As the file is now, without the lock: it is replaced whole, and read again before a key is served. */
  #keys(directory: string): readonly KeyRecord[] {
    const found = statSync(join(directory, metadataFile), { throwIfNoEntry: false });
    if (found === undefined) return [];
    const stamp = `${directory} ${found.ino} ${found.mtimeMs} ${found.size}`;
    if (this.#known?.stamp !== stamp) this.#known = { stamp, keys: readMetadata(directory).keys };
    return this.#known.keys;
  }
}

/** Nobody waits with the agent's one thread for another process. @throws MintError `io-failed` from the lock itself */
async function storeIsFree(directory: string): Promise<void> {
  if (!existsSync(directory)) return;
  for (const deadline = performance.now() + storeLimit; performance.now() < deadline; await sleep(20)) {
    const lock = acquireLock(join(directory, '.lock'), { waitMilliseconds: 0 });
    lock?.release();
    if (lock !== undefined) return;
  }
}

/** The first that reaches a person asks, and the others get what it brings. */
async function askFirst(
  waiting: AskSecret[],
  question: { readonly prompt: string; readonly seconds: number },
): Promise<SecretAnswer> {
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
function whole({ name, blob }: ManagedKey, privateKey: KeyObject): SigningKey {
  if (publicBlob(privateKey).equals(blob)) return { privateKey, blob };
  throw new MintError('key-store', `the two files of the key ${name} hold different keys`, {
    hint: 'mint-ssh keys doctor',
  });
}

function idOf({ directory, blob }: ManagedKey): string {
  return `${directory} ${blob.toString('base64')}`;
}
