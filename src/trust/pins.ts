/**
 * The pinned keys of all VMs on the disk: the operations of users (list, show, accept, forget), and those of the agent
 * outside of a host key check. Commands may run them beside a running agent.
 *
 * Mint's file decides which ed25519 key counts. If its line has a key of our record, the record's other keys count too.
 * If it has another key, Mint has pinned another machine, and the record's keys no longer count. A line that was lost is
 * restored from the record.
 */
import { existsSync } from 'node:fs';
import { MintError } from '../errors.ts';
import type { Paths } from '../platform/paths.ts';
import { vmName } from '../settings/vm-name.ts';
import type { HostKey } from '../ssh/hostkey.ts';
import { contradicted, typeOf } from './decide.ts';
import {
  derivedText,
  libsshText,
  putDerived,
  readDerived,
  recordedNames,
  removeFile,
} from './derived-file.ts';
import {
  addsPlace,
  blobsOf,
  blockToKeep,
  countingKeys,
  hasMintKey,
  keptBeside,
  lineFor,
  seenKey,
  shownKey,
  withConsoleKeys,
} from './key-set.ts';
import { type Finding, findPin, findPins, isFingerprint } from './known-hosts.ts';
import {
  type ConsoleBlock,
  type ConsoleKey,
  isAnotherInstance,
  knownPart,
  mintType,
  type Pin,
  type PinnedKey,
  type Place,
  type Refusal,
} from './pin.ts';
import { emptyRecord, pinsOf, type TrustRecord } from './record.ts';
import { TrustFiles } from './trust-files.ts';

/** A login this soon after the recorded one is not recorded, because logins may come in dozens. */
const loginGrainMs = 10_000;

/** The pins of a VM and their problems, for the user. */
export interface HostEntry {
  readonly vm: string;
  /** Mint's type first. */
  readonly pins: readonly Pin[];
  /** The first of them; undefined if no key is pinned, or the pins cannot be read. */
  readonly pin: Pin | undefined;
  /** Keys of our record that do not count, because Mint's file has another key. */
  readonly replaced: readonly PinnedKey[];
  /** The key that was refused last, until it is accepted. */
  readonly refused: Refusal | undefined;
  /** Set if the console does not list a key that was pinned at first use. Connections are then blocked. */
  readonly contradiction: { readonly pin: Pin; readonly shown: readonly ConsoleKey[] } | undefined;
  /** Why no key of this VM is trusted now, or another problem of its files. */
  readonly problem: string | undefined;
}

export class Pins {
  protected readonly files: TrustFiles;

  constructor(paths: Paths) {
    this.files = new TrustFiles(paths);
  }

  /**
   * Whether our record has this key as pinned.
   * @throws MintError `unsafe-permissions`, `io-failed`
   */
  isPinned(vm: string, { fingerprint }: HostKey): boolean {
    return this.files.record(vm).record?.keys.some((one) => one.fingerprint === fingerprint) ?? false;
  }

  /**
   * Whether everything that AWS can still tell is on record: the console's host keys and the account.
   * @throws MintError `unsafe-permissions`, `io-failed`
   */
  knowsInstance(vm: string, instance: string): boolean {
    const { console, account } = this.files.record(vm).record ?? emptyRecord;
    return console?.isWhole === true && console.instance === instance && account !== undefined;
  }

  /**
   * @returns the entries of all known VMs, by name
   * @throws MintError `known-hosts-corrupt` when Mint's file as a whole is refused
   */
  list(): HostEntry[] {
    const findings = findPins(this.files.text());
    const names = new Set([...findings.keys(), ...recordedNames(this.files.paths.hosts)].filter(isVmName));
    return [...names].sort().flatMap((vm) => this.#entry(vm, findings.get(vm) ?? { kind: 'absent' }) ?? []);
  }

  /**
   * @returns one VM; undefined if nothing is known of it
   * @throws MintError as `list`
   */
  show(vm: string): HostEntry | undefined {
    return this.#entry(vm, findPin(this.files.text(), vm));
  }

  /**
   * Trusts a fingerprint because the user accepts it. It replaces the pinned keys of its type. If the key was refused on
   * another instance than the one on record, or if the console contradicts the pin, it replaces the other keys too. The
   * key itself is known if it was refused, pinned or printed to the console before; otherwise it is pinned by its
   * fingerprint, and counts as an ed25519 key until it is seen.
   *
   * @returns the new pin
   * @throws MintError `usage` if it is not a fingerprint; `known-hosts-corrupt` if Mint's file as a whole is refused;
   *   `io-failed`, `unsafe-permissions`
   */
  accept(vm: string, fingerprint: string): Pin {
    if (!isFingerprint(fingerprint)) {
      throw new MintError('usage', 'a fingerprint is "SHA256:" and 43 base64 characters', {
        hint: 'copy it from the warning, or from `ssh-keygen -l` on the VM',
      });
    }
    return this.files.locked(() => {
      const { record: before = emptyRecord } = this.files.record(vm);
      const finding = findPin(this.files.text(), vm);
      const now = new Date().toISOString();
      const refusal = before.refused.find(({ key }) => key.fingerprint === fingerprint);
      const pinned = before.keys.find((one) => one.fingerprint === fingerprint);
      const known = pinned ?? (refusal && seenKey(refusal)) ?? shownKey(before.console, fingerprint);
      const accepted: PinnedKey = { ...(known ?? { fingerprint }), evidence: 'accepted', pinnedAt: now };
      const isNewVm = refusal !== undefined && isAnotherInstance(before, refusal);
      const kept = isNewVm ? [] : keptBeside(accepted, countingKeys(finding, before), before, pinned);
      const keys = [...kept, accepted];
      const place = refusal === undefined ? {} : knownPart(refusal);
      const record: TrustRecord = {
        ...before,
        ...(isNewVm ? { account: undefined, region: undefined, lastLogin: undefined } : {}),
        ...place,
        keys,
        console: isNewVm && before.console?.instance !== refusal.instance ? undefined : before.console,
        refused: before.refused.filter((one) => one !== refusal),
      };
      this.files.setLine(vm, lineFor(keys, finding));
      this.files.writeRecord(vm, record);
      this.putDerived(vm, blobsOf(keys));
      return { ...accepted, ...place };
    });
  }

  /**
   * Removes every trace of a VM.
   * @returns false if there was no trace of it
   * @throws MintError `known-hosts-corrupt`, `io-failed`, `unsafe-permissions`
   */
  forget(vm: string): boolean {
    // Without a trace of the VM nothing is created, not even the lock.
    if (!existsSync(this.files.paths.hosts) && findPin(this.files.text(), vm).kind === 'absent') return false;
    return this.files.locked(() => {
      // If a file is invalid, fail before anything is removed.
      const hasLine = findPin(this.files.text(), vm).kind !== 'absent';
      const { record, knownHosts, libsshKnownHosts } = this.files.of(vm);
      // The record goes first: a record that is left without its line would restore the line.
      const hadFiles = [record, knownHosts, `${knownHosts}.old`, libsshKnownHosts]
        .map(removeFile)
        .includes(true);
      if (hasLine) this.files.setLine(vm, undefined);
      return hasLine || hadFiles;
    });
  }

  /**
   * Keeps the host keys that the console of an instance shows. They verify the pinned keys that are listed and add the
   * VM's other keys, or they contradict the pin.
   *
   * @returns undefined if no key of that instance is pinned any more, or the record cannot be written
   */
  learn(vm: string, block: ConsoleBlock, place: Place): 'agrees' | 'contradicts' | undefined {
    let answer: 'agrees' | 'contradicts' | undefined;
    const written = succeeds(() => {
      this.files.locked(() => {
        const finding = findPin(this.files.text(), vm);
        const { record } = this.files.record(vm);
        if (record === undefined || isAnotherInstance(record, block)) return;
        const counting = countingKeys(finding, record);
        if (counting.length === 0) return;
        const kept = blockToKeep(record.console, block);
        const noted = { ...record, instance: block.instance, ...knownPart(place), console: kept };
        const denied = contradicted(pinsOf({ ...noted, keys: counting }), kept);
        const keys = denied === undefined ? withConsoleKeys(counting, kept) : counting;
        this.files.keepLine(vm, counting, (now) => lineFor(keys, now));
        this.files.writeRecord(vm, { ...noted, keys });
        if (keys.length > counting.length) this.putDerived(vm, blobsOf(keys));
        answer = denied === undefined ? 'agrees' : 'contradicts';
      });
    });
    return written ? answer : undefined;
  }

  /**
   * Records the account and region of the pinned instance.
   * @returns false if it cannot be written
   */
  learnPlace(vm: string, place: Place): boolean {
    return succeeds(() => {
      const { record } = this.files.record(vm);
      if (record === undefined || record.keys.length === 0 || isAnotherInstance(record, place)) return;
      if (!addsPlace(place, record)) return;
      this.files.locked(() => {
        const { record: now } = this.files.record(vm);
        if (now === undefined || now.keys.length === 0 || isAnotherInstance(now, place)) return;
        this.files.writeRecord(vm, { ...now, ...knownPart(place) });
      });
    });
  }

  /**
   * Records that a login has succeeded now.
   * @returns false if it could not be written; the login continues
   */
  noteLogin(vm: string): boolean {
    return succeeds(() => {
      if (isRecent(this.files.record(vm).record?.lastLogin, loginGrainMs)) return;
      this.files.locked(() => {
        const { record } = this.files.record(vm);
        if (record === undefined || record.keys.length === 0) return;
        this.files.writeRecord(vm, { ...record, lastLogin: new Date().toISOString() });
      });
    });
  }

  /** @param found the derived file's current text, if the caller has read it */
  protected putDerived(
    vm: string,
    keys: readonly HostKey[],
    found: string | undefined = readDerived(this.files.of(vm).knownHosts),
  ): void {
    const { knownHosts, libsshKnownHosts } = this.files.of(vm);
    // Only libssh reads it, and the proxy checks the key of a libssh client too: a login does not fail because of a
    // full disk or a read-only directory.
    succeeds(() => putDerived(libsshKnownHosts, libsshText(vm, keys), readDerived(libsshKnownHosts)));
    putDerived(knownHosts, derivedText(vm, keys), found);
  }

  #entry(vm: string, finding: Finding): HostEntry | undefined {
    const { record, damage } = this.files.record(vm);
    const refused = record?.refused[0];
    const without = { vm, pins: [], pin: undefined, replaced: [], refused, contradiction: undefined };
    if (finding.kind === 'bad') {
      return { ...without, problem: `known_hosts line ${finding.line}: ${finding.reason}` };
    }
    if (finding.kind === 'absent') {
      if (damage !== undefined) return { ...without, problem: damage.message };
      if (record === undefined) return undefined;
    }
    const keys = countingKeys(finding, record);
    const isRecorded = record?.keys.some((one) => keys.includes(one)) === true;
    const pins = isRecorded ? pinsOf({ ...record, keys }) : keys.map((key): Pin => ({ ...key }));
    pins.sort((one, other) => Number(typeOf(other) === mintType) - Number(typeOf(one) === mintType));
    const console = record?.console;
    const denied = console && contradicted(pins, console);
    const isLost = finding.kind === 'absent' && hasMintKey(record);
    return {
      ...without,
      pins,
      pin: pins[0],
      replaced: isRecorded ? [] : (record?.keys ?? []),
      contradiction: console && denied && { pin: denied, shown: console.keys },
      problem:
        damage?.message ??
        (isLost
          ? 'the line in known_hosts is missing: it is restored at the next connection to this instance'
          : undefined),
    };
  }
}

/**
 * Runs an action that may fail.
 * @returns false if it failed
 * @throws MintError `unsafe-permissions`: a file that other users can write to is never ignored
 */
export function succeeds(action: () => void): boolean {
  try {
    action();
    return true;
  } catch (error) {
    if (error instanceof MintError && error.code !== 'unsafe-permissions') return false;
    throw error;
  }
}

/** Whether an ISO 8601 date is less than `milliseconds` from now, in either direction. */
export function isRecent(date: string | undefined, milliseconds: number): boolean {
  return date !== undefined && Math.abs(Date.now() - Date.parse(date)) < milliseconds;
}

function isVmName(name: string): boolean {
  try {
    return vmName(name) === name;
  } catch {
    return false;
  }
}
