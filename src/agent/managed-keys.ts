/**
 * Managed keys on their way from the store to a login. One with a passphrase is asked for once and stays in memory
 * for `key_lifetime`; any other is read anew each time.
 */
import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { MintError } from '../errors.ts';
import { metadataFile, readMetadata } from '../keys/store/journal.ts';
import { isNamedInEc2 } from '../keys/store/key-store.ts';
import { blobOfLine } from '../keys/store/key-type.ts';
import { keyForVm, recordUse, type WhichKey } from '../keys/store/key-use.ts';
import { keyStoreDirectory } from '../keys/store/location.ts';
import type { KeyRecord } from '../keys/store/metadata.ts';
import type { Caller } from '../platform/caller.ts';
import { acquireLock } from '../platform/lock.ts';
import type { Paths } from '../platform/paths.ts';
import type { SigningKey } from '../ssh/key-signature.ts';
import type { Log } from './log.ts';
import { type ManagedKey, openManagedKey } from './managed-key.ts';
import type { AskSecret } from './questions.ts';
import { UnlockedKeys } from './unlocked-keys.ts';

/** How long another process's change of the store is waited for, in milliseconds. */
const storeLimit = 5000;

interface Unlocking {
  /** Whoever may be asked for the passphrase. */
  readonly waiting: AskSecret[];
  readonly result: Promise<SigningKey>;
}

export class ManagedKeys {
  readonly #paths: Paths;
  readonly #log: Log;
  /** Both by store and public half. */
  readonly #unlocked: UnlockedKeys;
  readonly #unlocking = new Map<string, Unlocking>();
  #known: { readonly stamp: string; readonly keys: readonly KeyRecord[] } | undefined;

  /** @param changed told when the last unlocked key has gone, or the first one come */
  constructor({ paths, log }: { readonly paths: Paths; readonly log: Log }, changed: () => void) {
    this.#paths = paths;
    this.#log = log;
    this.#unlocked = new UnlockedKeys(log, changed);
  }

  /** Names of the keys that a passphrase has unlocked. */
  get unlocked(): readonly string[] {
    return this.#unlocked.names;
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
    const privateKey = this.#unlocked.get(id);
    if (privateKey !== undefined) return { privateKey, blob: key.blob };
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
    const { privateKey, hadPassphrase } = await openManagedKey(key, waiting);
    if (hadPassphrase) this.#unlocked.keep(idOf(key), key.name, privateKey, lifetime);
    return { privateKey, blob: key.blob };
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

function idOf({ directory, blob }: ManagedKey): string {
  return `${directory} ${blob.toString('base64')}`;
}
