/**
 * Managed keys between the store and a login. The passphrase of a key is asked for once, and the key then stays in
 * memory for `key_lifetime`; a key without one is read again for each login.
 */
import { spawn } from 'node:child_process';
import type { KeyObject } from 'node:crypto';
import { existsSync, statSync } from 'node:fs';
import { join, parse } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { command } from '../../cli/shell-command.ts';
import { MintError } from '../../errors.ts';
import { parseKeyFile } from '../../keys/store/key-file.ts';
import { isNamedInEc2, type KeyRecord, recordsOf } from '../../keys/store/key-store.ts';
import { blobOfLine, publicBlob } from '../../keys/store/key-type.ts';
import {
  keyForMachine,
  type LoginMachine,
  recordRefusal,
  recordUse,
  type ServedKey,
  type StoredKey,
  type WhichKey,
} from '../../keys/store/key-use.ts';
import { keyStoreDirectory } from '../../keys/store/location.ts';
import { openKeyFile } from '../../keys/store/private-key.ts';
import { machineOf } from '../../keys/store/rotation.ts';
import { metadataFile, ownDirectory, stateFile } from '../../keys/store/store-files.ts';
import type { Caller } from '../../platform/caller.ts';
import { agentEnvironment } from '../../platform/hardening.ts';
import { acquireLock } from '../../platform/lock.ts';
import type { Paths } from '../../platform/paths.ts';
import { ownProcess } from '../../platform/program.ts';
import { parseHostKey } from '../../ssh/hostkey.ts';
import type { SigningKey } from '../../ssh/key-signature.ts';
import type { Log } from '../context.ts';
import type { SecretAnswer, SecretQuestion } from '../control/protocol.ts';
import type { AskSecret } from '../prompt.ts';
import { type Age, collectGarbage, startAge } from './key-memory.ts';

/** How long to wait for another process that changes the store. */
const storeWaitMs = 5000;
/** Timers stop while the machine sleeps, so the age of an unlocked key is checked this often. */
const checkIntervalMs = 30_000;
/** How long the user has for a passphrase, in seconds, and how often a wrong one is asked for again. */
const answerSeconds = 40;
const attempts = 3;

/** One key that a login may sign with. */
export interface ManagedKey {
  readonly directory: string;
  readonly name: string;
  readonly blob: Buffer;
  readonly fingerprint: string;
  /** The bytes of its file. */
  readonly privateKey: Buffer;
}

/** A key as it is served to a machine. */
export interface ServedManagedKey extends ManagedKey {
  readonly to: LoginMachine;
  readonly served: ServedKey;
  /** The other key of a rotation that has begun, which is offered second. */
  readonly other: ManagedKey | undefined;
  /** What the store was like when it was read, for `isCurrent`. */
  readonly stamp: string;
}

interface Unlocked {
  readonly name: string;
  readonly privateKey: KeyObject;
  readonly age: Age;
  readonly lifetimeMs: number;
}

interface Unlocking {
  /** The connections that can ask for the passphrase. */
  readonly waiting: AskSecret[];
  readonly result: Promise<SigningKey>;
}

export class ManagedKeys {
  readonly #paths: Paths;
  readonly #log: Log;
  readonly #changed: () => void;
  /** By store and public key. */
  readonly #unlocked = new Map<string, Unlocked>();
  readonly #unlocking = new Map<string, Unlocking>();
  /** Machines on which a rotation is being finished in the background. */
  readonly #finishing = new Set<string>();
  #known: { readonly stamp: string; readonly keys: readonly KeyRecord[] } | undefined;
  #timer: NodeJS.Timeout | undefined;

  /** @param changed called when a key is unlocked, and when the last unlocked key has expired */
  constructor({ paths, log }: { readonly paths: Paths; readonly log: Log }, changed: () => void) {
    this.#paths = paths;
    this.#log = log;
    this.#changed = changed;
  }

  /** Names of the keys that a passphrase has unlocked. */
  get unlocked(): readonly string[] {
    return [...this.#unlocked.values()].map(({ name }) => name);
  }

  /** Whether the store has a key that EC2 knows by this name. False if the store cannot be read. */
  has(caller: Caller, awsKeyName: string): boolean {
    try {
      const directory = this.#directory(caller);
      return this.#keys(directory).some((key) => isNamedInEc2(key, awsKeyName));
    } catch (error) {
      this.#log(`cannot look for the key ${JSON.stringify(awsKeyName)}: ${String(error)}`);
      return false;
    }
  }

  /**
   * The key that the machine accepts now.
   * @throws MintError `key-not-found`, `key-store`, `unsafe-permissions`
   */
  async find(caller: Caller, which: WhichKey, to: LoginMachine): Promise<ServedManagedKey> {
    const directory = this.#directory(caller);
    await storeIsFree(directory);
    const stamp = stampOf(directory);
    const served = keyForMachine(directory, which, to);
    const given = 'profile' in which ? which.profile : which.awsKeyName;
    if (served === undefined) {
      throw new MintError(
        'key-not-found',
        `no key named ${JSON.stringify(given)}, which is the access of ${to.name}`,
        {
          hint: `${command`mint-ssh keys attach ${'profile' in which ? given : 'PROFILE'} ${to.name}`} makes one and adds it there; or set access of [vm.${to.name}] in ssh.toml`,
        },
      );
    }
    const key = managedKey(directory, served.record.name, served);
    if (key === undefined) {
      throw new MintError('key-store', `the public key of ${served.record.name} is damaged`, {
        hint: 'mint-ssh keys doctor',
      });
    }
    const other = served.other && managedKey(directory, served.record.name, served.other);
    return { ...key, to, served, other, stamp };
  }

  /** Whether the store has not changed since the key was read. */
  isCurrent({ directory, stamp }: ServedManagedKey): boolean {
    return stampOf(directory) === stamp;
  }

  /** @returns the public keys for a client that lists keys before it connects; none if they are not known */
  listed(environment: NodeJS.ProcessEnv, which: WhichKey, to: LoginMachine): readonly Buffer[] {
    try {
      const served = keyForMachine(keyStoreDirectory(this.#paths, undefined, environment), which, to);
      return [served, served?.other].flatMap((key) => (key && blobOfLine(key.publicKey)) ?? []);
    } catch {
      return [];
    }
  }

  /**
   * Opens the key to sign with it. If it has a passphrase and is not unlocked, the user is asked once for all connections
   * that wait.
   * @param lifetimeMs how long the key stays unlocked
   * @throws MintError `key-passphrase`, `key-invalid`, `key-format`, `key-store`
   */
  open(key: ManagedKey, ask: AskSecret, lifetimeMs: number): SigningKey | Promise<SigningKey> {
    const id = idOf(key);
    const unlocked = this.#unlocked.get(id);
    if (unlocked !== undefined && unlocked.age() < unlocked.lifetimeMs) {
      return { privateKey: unlocked.privateKey, blob: key.blob };
    }
    const unlocking = this.#unlocking.get(id);
    if (unlocking !== undefined) {
      unlocking.waiting.push(ask);
      return unlocking.result;
    }
    const waiting = [ask];
    const result = this.#open(key, waiting, lifetimeMs).finally(() => this.#unlocking.delete(id));
    this.#unlocking.set(id, { waiting, result });
    return result;
  }

  /**
   * Records the login in the store. A failure only goes to the log.
   * @param used the key that has logged in: the served one, or the other one of its rotation
   * @returns whether a rotation is not finished on the machine
   */
  recordUse({ directory, name, to, fingerprint, served }: ServedManagedKey, used: ManagedKey): boolean {
    const isSecond = used.fingerprint !== fingerprint;
    const record = recordUse(directory, name, to, used.fingerprint, isSecond);
    if (record === undefined) this.#log(`${to.name}: cannot record the use of key ${name}`);
    const { rotation, machines } = record ?? served.record;
    return rotation !== undefined && machineOf(machines, to)?.accepts !== undefined;
  }

  /** Records that the machine did not accept the key. */
  recordRefusal({ directory, name, to, fingerprint }: ServedManagedKey): void {
    this.#log(`${to.name}: did not accept the key ${name} (${fingerprint})`);
    recordRefusal(directory, name, to, fingerprint);
  }

  /**
   * Starts `keys rotate` for this machine only, with the caller's environment, in the background.
   * @returns false if the user has to run it, because the key has a passphrase
   */
  finishRotation({ directory, name, to, privateKey }: ServedManagedKey, { environment }: Caller): boolean {
    if (parseKeyFile(privateKey).encrypted) return false;
    const id = JSON.stringify([directory, name, to.name]);
    if (this.#finishing.has(id)) return true;
    this.#finishing.add(id);
    const region = to.region === undefined ? [] : ['--region', to.region];
    const words = ['keys', 'rotate', name, to.name, '--store', directory, ...region];
    const call = ownProcess([...words, '--config-dir', this.#paths.dir]);
    const child = spawn(call.file, call.words, {
      detached: true,
      windowsHide: true,
      cwd: parse(this.#paths.run).root,
      env: { ...agentEnvironment(process.env), ...environment },
      stdio: 'ignore',
    });
    child.on('error', (error) => {
      this.#finishing.delete(id);
      this.#log(`${to.name}: cannot finish the rotation of ${name}: ${error.message}`);
    });
    child.on('exit', (status) => {
      this.#finishing.delete(id);
      this.#log(`${to.name}: the rotation of ${name} has ended with status ${status}`);
    });
    child.unref();
    return true;
  }

  async #open(key: ManagedKey, waiting: AskSecret[], lifetimeMs: number): Promise<SigningKey> {
    const { privateKey, hadPassphrase } = await openManagedKey(key, waiting);
    if (hadPassphrase) this.#keep(key, privateKey, lifetimeMs);
    return { privateKey, blob: key.blob };
  }

  #keep(key: ManagedKey, privateKey: KeyObject, lifetimeMs: number): void {
    const { name } = key;
    this.#unlocked.set(idOf(key), { name, privateKey, age: startAge(), lifetimeMs });
    this.#log(`the key ${name} is unlocked for ${Math.round(lifetimeMs / 1000)} s`);
    this.#schedule();
    this.#changed();
  }

  #schedule(): void {
    clearTimeout(this.#timer);
    const left = [...this.#unlocked.values()].map(({ age, lifetimeMs }) => lifetimeMs - age());
    if (left.length === 0) return;
    const pauseMs = Math.min(checkIntervalMs, Math.max(100, Math.min(...left)));
    this.#timer = setTimeout(() => this.#dropExpired(), pauseMs).unref();
  }

  /** Drops expired keys and forces a garbage collection. */
  #dropExpired(): void {
    for (const [id, { name, age, lifetimeMs }] of this.#unlocked) {
      if (age() < lifetimeMs) continue;
      this.#unlocked.delete(id);
      this.#log(`the key ${name} is locked again`);
      collectGarbage();
    }
    this.#schedule();
    if (this.#unlocked.size === 0) this.#changed();
  }

  #directory({ environment }: Caller): string {
    return keyStoreDirectory(this.#paths, undefined, environment);
  }

  /** Reads the store without its lock: its files are replaced in one step, and are read again before a key is served. */
  #keys(directory: string): readonly KeyRecord[] {
    if (!existsSync(join(directory, metadataFile))) return [];
    const stamp = stampOf(directory);
    if (this.#known?.stamp !== stamp) this.#known = { stamp, keys: recordsOf(directory) };
    return this.#known.keys;
  }
}

/** Changes with the store's files: the directory with the keys of rotations changes where one is added or removed. */
function stampOf(directory: string): string {
  const found = [metadataFile, stateFile, ownDirectory].map((file) =>
    statSync(join(directory, file), { throwIfNoEntry: false }),
  );
  return [directory, ...found.flatMap((file) => [file?.ino, file?.mtimeMs, file?.size])].join(' ');
}

/** @returns undefined if the public key is damaged */
function managedKey(
  directory: string,
  name: string,
  { privateKey, publicKey }: StoredKey,
): ManagedKey | undefined {
  const blob = blobOfLine(publicKey);
  return blob && { directory, name, blob, fingerprint: parseHostKey(blob).fingerprint, privateKey };
}

/**
 * Waits until no other process holds the lock of the store, without blocking the agent's only thread.
 * @throws MintError `io-failed`
 */
async function storeIsFree(directory: string): Promise<void> {
  if (!existsSync(directory)) return;
  for (const deadline = performance.now() + storeWaitMs; performance.now() < deadline; await sleep(20)) {
    const lock = acquireLock(join(directory, '.lock'), { waitMilliseconds: 0 });
    lock?.release();
    if (lock !== undefined) return;
  }
}

function idOf({ directory, blob }: ManagedKey): string {
  return `${directory} ${blob.toString('base64')}`;
}

/**
 * @param waiting the connections that can ask for the passphrase; others may be added meanwhile
 * @throws MintError `key-passphrase`, `key-invalid`, `key-format`, `key-store`
 */
async function openManagedKey(
  key: ManagedKey,
  waiting: AskSecret[],
): Promise<{ readonly privateKey: KeyObject; readonly hadPassphrase: boolean }> {
  const file = parseKeyFile(key.privateKey);
  if (!file.encrypted)
    return { privateKey: checked(key, await openKeyFile(file, undefined)), hadPassphrase: false };
  for (let attempt = 1; ; attempt += 1) {
    const question = { prompt: promptFor(key.name, attempt), seconds: answerSeconds };
    const passphrase = typed(await askFirst(waiting, question), key.name);
    try {
      const privateKey = await openKeyFile(file, passphrase.toString('utf8'));
      return { privateKey: checked(key, privateKey), hadPassphrase: true };
    } catch (error) {
      const isWrong = error instanceof MintError && error.code === 'key-passphrase';
      if (!isWrong || attempt >= attempts) throw error;
    } finally {
      passphrase.fill(0);
      collectGarbage();
    }
  }
}

/** Asks through each connection in turn until one reaches the user. */
async function askFirst(waiting: AskSecret[], question: SecretQuestion): Promise<SecretAnswer> {
  for (let [ask] = waiting; ask !== undefined; [ask] = waiting) {
    const answer = await ask(question);
    if (answer !== 'cannot-ask') return answer;
    waiting.shift();
  }
  return 'cannot-ask';
}

function typed(answer: SecretAnswer, name: string): Buffer {
  if (typeof answer !== 'string') return answer.secret;
  const why = {
    no: 'and none was given',
    timeout: 'and there was no answer',
    'cannot-ask': 'and there is no terminal to ask on',
  }[answer];
  throw new MintError('key-passphrase', `the key ${name} has a passphrase, ${why}`, {
    hint: 'connect on a terminal, or with SSH_ASKPASS set; the key then stays unlocked for `key_lifetime`',
  });
}

function promptFor(name: string, attempt: number): string {
  return `${attempt > 1 ? 'Wrong passphrase. ' : ''}Passphrase of the key ${name}: `;
}

/** @throws MintError `key-store` if the file does not hold the key of its public half */
function checked({ name, blob }: ManagedKey, privateKey: KeyObject): KeyObject {
  if (publicBlob(privateKey).equals(blob)) return privateKey;
  throw new MintError('key-store', `the two files of the key ${name} hold different keys`, {
    hint: 'mint-ssh keys doctor',
  });
}
