/**
 * Which host keys are trusted: the decision (`decide`) over Mint's file, our records and the keys that are still
 * provisional, and everything that changes them. One process (the agent) checks keys; commands may accept and forget
 * beside it.
 *
 * Mint's file says which ed25519 key counts. Where its line is one that our record knows, the record's other keys
 * count too; where it is another one, Mint has pinned another machine and the record's keys are of the past. A line
 * that was lost comes back from the record.
 */

import { existsSync } from 'node:fs';
import { MintError } from '../errors.ts';
import type { Paths } from '../platform/paths.ts';
import { vmName } from '../settings/vm-name.ts';
import { verifiableKeyTypes } from '../ssh/host-key-algorithm.ts';
import type { HostKey } from '../ssh/hostkey.ts';
import {
  type ConsoleAnswer,
  contradicted,
  type Decision,
  decide,
  lookUp,
  type Refused,
  typeOf,
} from './decide.ts';
import {
  derivedText,
  keysIn,
  libsshText,
  maxKeys,
  putDerived,
  readDerived,
  recordedNames,
  removeFile,
  removeOrphans,
} from './derived-file.ts';
import {
  addsPlace,
  blobsOf,
  blockToKeep,
  countingKeys,
  countingPins,
  hasMintKey,
  isComplete,
  keptBeside,
  lineFor,
  pinnedKey,
  seenKey,
  shownKey,
  withConsoleKeys,
  withKey,
  withoutUndefined,
  withRemembered,
} from './key-set.ts';
import { type Finding, findPin, findPins, isFingerprint } from './known-hosts.ts';
import {
  type ConsoleBlock,
  type ConsoleKey,
  type Evidence,
  isAnotherInstance,
  knownPart,
  mintType,
  type Pin,
  type PinnedKey,
  type Place,
  type Refusal,
  type RefusalReason,
  type Sighting,
} from './pin.ts';
import { type Grounds, type Provisional, ProvisionalKeys } from './provisional.ts';
import { emptyRecord, maxRefused, pinsOf, type TrustRecord } from './record.ts';
import { TrustFiles } from './trust-files.ts';

export type { Pin, Sighting } from './pin.ts';
export type { Provisional } from './provisional.ts';

/** A login this soon after the one on record is not written down: parallel logins come in dozens. */
const loginGrainMs = 10_000;
/** Likewise for the same key refused again. */
const refusalGrainMs = 10_000;

/** What is to happen with a presented key. `new`: the derived file holds the key, and the connection holds it. */
export type Checked =
  | { readonly outcome: 'ask-console' }
  | { readonly outcome: 'pinned'; readonly pin: Pin }
  | { readonly outcome: 'new'; readonly evidence: Evidence; readonly provisional: Provisional }
  | { readonly outcome: 'changed'; readonly pin: Pin }
  | Refused;

/** What is known of a VM, for users to read. */
export interface HostEntry {
  readonly vm: string;
  /** Mint's type first. */
  readonly pins: readonly Pin[];
  /** The first of them; undefined where nothing is pinned, or what is pinned cannot be read. */
  readonly pin: Pin | undefined;
  /** Keys of our record that do not count, because Mint's file has another key. */
  readonly replaced: readonly PinnedKey[];
  /** The key that was refused last, until it is accepted. */
  readonly refused: Refusal | undefined;
  /** AWS's console output does not list a key that was pinned at first use: connections are blocked. */
  readonly contradiction: { readonly pin: Pin; readonly shown: readonly ConsoleKey[] } | undefined;
  /** Why no key of this VM is trusted at the moment, or what else is wrong with its files. */
  readonly problem: string | undefined;
}

export class TrustStore {
  readonly #files: TrustFiles;
  readonly #provisional = new ProvisionalKeys({
    pin: (sighting, grounds) => this.#pin(sighting, grounds),
    remove: (sighting) => this.#removeProvisional(sighting),
  });

  constructor(paths: Paths) {
    this.#files = new TrustFiles(paths);
  }

  /** For an agent that starts: removes what another one left as provisional. @throws MintError `io-failed` */
  start(): void {
    removeOrphans(this.#files.paths.hosts);
  }

  /**
   * Checks the key of one connection. When the promise resolves to `pinned` or `new`, the derived file holds the
   * VM's keys and this one. Takes up to 200 ms where Mint is rewriting its file, and as long where a line is missing
   * that our record knows; else it waits for nothing.
   *
   * @param console what AWS shows; with `not-asked` the answer may be `ask-console`
   * @param mayAdopt whether what ssh wrote to the derived file can be believed; see `#adopt`
   * @throws MintError `known-hosts-corrupt`, `host-key-type` (a type that is never accepted, or another type is being
   *   pinned at this moment), `host-key-changed` (another first key is being pinned), `io-failed`, `unsafe-permissions`
   */
  async check(
    sighting: Sighting,
    console: ConsoleAnswer = { kind: 'silent', why: 'AWS was not asked' },
    mayAdopt: () => boolean = () => true,
  ): Promise<Checked> {
    refuseUnknownType(sighting);
    this.#files.prepare();
    const { vm, key } = sighting;
    const finding = await this.#files.find(vm, () => hasMintKey(this.#files.record(vm).record));
    // From here to the end nothing waits, so that two connections cannot be given different first keys.
    const { record: read, damage } = this.#files.record(vm);
    if (finding.kind === 'absent' && damage !== undefined) throw damage;
    const derived = readDerived(this.#files.of(vm).knownHosts);
    const record = read && this.#adopt(vm, read, derived, mayAdopt);
    const pins = countingPins(finding, read, record, sighting);
    const answer = withRemembered(console, record?.console, pins, sighting);
    const decision = decide(key, sighting, { pins, refused: record?.refused ?? [] }, answer);
    switch (decision.outcome) {
      case 'ask-console':
        return decision;
      case 'pinned':
        this.#match(sighting, pins, finding, derived);
        return decision;
      case 'new': {
        this.#refuseOtherFirstKey(sighting, decision.evidence);
        const grounds = {
          evidence: decision.evidence,
          block: answer.kind === 'block' ? answer.block : undefined,
        };
        const keys = this.#derivedKeys(vm, pins);
        this.#putDerived(vm, withKey(keys, key), derived);
        return { ...decision, provisional: this.#provisional.hold(sighting, grounds) };
      }
      case 'changed':
      case 'unverified':
      case 'type-not-pinned':
      case 'refused-before':
      case 'contradicted':
        this.#noteRefusal(sighting, decision, answer.kind === 'block' ? answer.block : undefined);
        return decision;
    }
  }

  /** Whether our record has this key as pinned. @throws MintError `unsafe-permissions`, `io-failed` */
  isPinned(vm: string, { fingerprint }: HostKey): boolean {
    return this.#files.record(vm).record?.keys.some((one) => one.fingerprint === fingerprint) ?? false;
  }

  /** Whether all that AWS can say later is on record: the console's host keys and the account. @throws MintError */
  knowsInstance(vm: string, instance: string): boolean {
    const { console, account } = this.#files.record(vm).record ?? emptyRecord;
    return console?.isWhole === true && console.instance === instance && account !== undefined;
  }

  /** Every VM that is known, by name. @throws MintError `known-hosts-corrupt` when Mint's file as a whole is refused */
  list(): HostEntry[] {
    const findings = findPins(this.#files.text());
    const names = new Set([...findings.keys(), ...recordedNames(this.#files.paths.hosts)].filter(isVmName));
    return [...names].sort().flatMap((vm) => this.#entry(vm, findings.get(vm) ?? { kind: 'absent' }) ?? []);
  }

  /** One VM; undefined when nothing is known of it. @throws MintError as `list` */
  show(vm: string): HostEntry | undefined {
    return this.#entry(vm, findPin(this.#files.text(), vm));
  }

  /**
   * Trusts a fingerprint because the user said so. It takes the place of the pinned keys of its type; on another
   * instance than the one on record, or against AWS's console output, of all keys that this concerns. The key itself
   * is known where it was refused, pinned or printed to the console before; any other is pinned by its fingerprint
   * and counts as an ed25519 key until it is seen.
   *
   * @throws MintError `usage` when it is not a fingerprint; `known-hosts-corrupt` when Mint's file as a whole is
   *   refused; `io-failed`, `unsafe-permissions`
   */
  accept(vm: string, fingerprint: string): Pin {
    if (!isFingerprint(fingerprint)) {
      throw new MintError('usage', 'a fingerprint is "SHA256:" and 43 base64 characters', {
        hint: 'copy it from the warning, or from `ssh-keygen -l` on the VM',
      });
    }
    return this.#files.locked(() => {
      const { record: before = emptyRecord } = this.#files.record(vm);
      const finding = findPin(this.#files.text(), vm);
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
      this.#files.setLine(vm, lineFor(keys, finding));
      this.#files.writeRecord(vm, record);
      this.#putDerived(vm, blobsOf(keys));
      return { ...accepted, ...place };
    });
  }

  /** Removes every trace of a VM; false when there was none. @throws MintError */
  forget(vm: string): boolean {
    // Where there is nothing, nothing is made either: not even the lock.
    if (!existsSync(this.#files.paths.hosts) && findPin(this.#files.text(), vm).kind === 'absent')
      return false;
    return this.#files.locked(() => {
      // A file that is refused as a whole is refused before anything is removed.
      const hasLine = findPin(this.#files.text(), vm).kind !== 'absent';
      const { record, knownHosts, libsshKnownHosts } = this.#files.of(vm);
      // The record goes first: were it to outlive the line, it would bring the line back.
      const hadFiles = [record, knownHosts, `${knownHosts}.old`, libsshKnownHosts]
        .map(removeFile)
        .includes(true);
      if (hasLine) this.#files.setLine(vm, undefined);
      return hasLine || hadFiles;
    });
  }

  /**
   * Pins a key without a connection: it came from the command that put it into the VM's user data.
   * @returns false where a key of the VM is pinned already @throws MintError
   */
  pinForJob(vm: string, key: HostKey): boolean {
    return this.#files.locked(() => {
      if (this.show(vm)?.pin !== undefined) return false;
      this.#pinLocked({ vm, key }, { evidence: 'job' });
      return true;
    });
  }

  /**
   * Keeps what the console of an instance shows, once it is there: it vouches for the pinned keys it lists and adds
   * the VM's other keys, or contradicts the pin.
   *
   * @returns undefined where nothing of that instance is pinned any more, or it cannot be written
   */
  learn(vm: string, block: ConsoleBlock, place: Place): 'agrees' | 'contradicts' | undefined {
    let answer: 'agrees' | 'contradicts' | undefined;
    const written = succeeds(() => {
      this.#files.locked(() => {
        const finding = findPin(this.#files.text(), vm);
        const { record } = this.#files.record(vm);
        if (record === undefined || isAnotherInstance(record, block)) return;
        const counting = countingKeys(finding, record);
        if (counting.length === 0) return;
        const kept = blockToKeep(record.console, block);
        const noted = { ...record, instance: block.instance, ...knownPart(place), console: kept };
        const denied = contradicted(pinsOf({ ...noted, keys: counting }), kept);
        const keys = denied === undefined ? withConsoleKeys(counting, kept) : counting;
        this.#files.keepLine(vm, counting, (now) => lineFor(keys, now));
        this.#files.writeRecord(vm, { ...noted, keys });
        if (keys.length > counting.length) this.#putDerived(vm, blobsOf(keys));
        answer = denied === undefined ? 'agrees' : 'contradicts';
      });
    });
    return written ? answer : undefined;
  }

  /** Which account and region the pinned instance is in. False where it is another one, or it cannot be written. */
  learnPlace(vm: string, place: Place): boolean {
    return succeeds(() => {
      const { record } = this.#files.record(vm);
      if (record === undefined || record.keys.length === 0 || isAnotherInstance(record, place)) return;
      if (!addsPlace(place, record)) return;
      this.#files.locked(() => {
        const { record: now } = this.#files.record(vm);
        if (now === undefined || now.keys.length === 0 || isAnotherInstance(now, place)) return;
        this.#files.writeRecord(vm, { ...now, ...knownPart(place) });
      });
    });
  }

  /** Pins a key that the server of a first use owns as well, while nothing of its type is pinned. @throws MintError */
  addFirstUse(sighting: Sighting): void {
    this.#files.locked(() => {
      const { record } = this.#files.record(sighting.vm);
      const counting = countingKeys(findPin(this.#files.text(), sighting.vm), record);
      // What was accepted or verified meanwhile does not vouch for it.
      if (!counting.some(({ evidence }) => evidence === 'first-use')) return;
      if (counting.some((one) => typeOf(one) === sighting.key.type)) return;
      this.#pinLocked(sighting, { evidence: 'first-use' });
    });
  }

  /**
   * Removes from the derived file every key that is neither pinned nor a first key of an open connection: what an ssh
   * added in a session with a host whose key is not pinned now. @throws MintError
   */
  restoreDerived(vm: string): void {
    const { knownHosts } = this.#files.of(vm);
    const derived = readDerived(knownHosts);
    if (derived === undefined) return;
    const counting = countingKeys(findPin(this.#files.text(), vm), this.#files.record(vm).record);
    this.#putDerived(vm, this.#derivedKeys(vm, counting), derived);
  }

  /** A login succeeded now. False when that could not be written, which is no reason to end it. */
  noteLogin(vm: string): boolean {
    return succeeds(() => {
      if (isRecent(this.#files.record(vm).record?.lastLogin, loginGrainMs)) return;
      this.#files.locked(() => {
        const { record } = this.#files.record(vm);
        if (record === undefined || record.keys.length === 0) return;
        this.#files.writeRecord(vm, { ...record, lastLogin: new Date().toISOString() });
      });
    });
  }

  /**
   * What ssh has written to the derived file since (`UpdateHostKeys yes`). ssh adds a key only inside a session
   * whose host key is in the file, after the host has signed the session id with the key it adds, and drops keys
   * that this host no longer offers. Believed only where the file still has a key that is pinned now; a session that
   * began with another key, before the VM was forgotten or its key accepted, could add its own key beside it, so the
   * caller says whether one is open (`mayAdopt`).
   *
   * @returns the record with these keys; written down as far as possible
   */
  #adopt(vm: string, record: TrustRecord, derived: string | undefined, mayAdopt: () => boolean): TrustRecord {
    const found = derived === undefined ? [] : keysIn(derived, vm);
    const has = (keys: readonly { readonly fingerprint: string }[], fingerprint: string) =>
      keys.some((one) => one.fingerprint === fingerprint);
    if (!found.some(({ fingerprint }) => has(record.keys, fingerprint))) return record;
    if (record.console !== undefined && contradicted(pinsOf(record), record.console) !== undefined)
      return record;
    const provisional = this.#provisionalKeys(vm);
    const added = found.filter(
      ({ fingerprint }) => !has(record.keys, fingerprint) && !has(provisional, fingerprint),
    );
    const kept = record.keys.filter(({ key, fingerprint }) => key === undefined || has(found, fingerprint));
    if (added.length === 0 && kept.length === record.keys.length) return record;
    if (!mayAdopt()) return record;
    const now = new Date().toISOString();
    const adopted: TrustRecord = {
      ...record,
      keys: [
        ...kept,
        ...added.map((key) => ({
          ...pinnedKey(key),
          evidence: 'proved' as const,
          firstSeen: now,
          pinnedAt: now,
        })),
      ].slice(0, maxKeys),
      refused: record.refused.filter(({ key }) => !has(added, key.fingerprint)),
    };
    succeeds(() => {
      this.#files.locked(() => {
        // First the line: while the record has the old key too, either line is one of its keys'.
        this.#files.keepLine(vm, record.keys, (finding) =>
          finding.kind === 'pin' ? lineFor(adopted.keys, finding) : undefined,
        );
        this.#files.writeRecord(vm, adopted);
      });
    });
    return adopted;
  }

  #match(sighting: Sighting, pins: readonly Pin[], finding: Finding, derived: string | undefined): void {
    const { vm, key } = sighting;
    this.#provisional.settle(vm, key);
    const keys = withKey(this.#derivedKeys(vm, pins), key);
    this.#putDerived(vm, keys, derived);
    if (isComplete(pins, sighting, finding)) return;
    // The key is trusted whether or not this can be written: a full disk must not lock the user out.
    succeeds(() => {
      this.#files.locked(() => {
        const { record = emptyRecord } = this.#files.record(vm);
        const line = findPin(this.#files.text(), vm);
        const counting = countingKeys(line, record);
        // Changed by another process since: the next connection sees to it.
        if (!counting.some(({ fingerprint }) => fingerprint === key.fingerprint)) return;
        const completed = counting.map((one) =>
          one.fingerprint === key.fingerprint
            ? { firstSeen: new Date().toISOString(), ...withoutUndefined(one), ...pinnedKey(key) }
            : one,
        );
        const isRecorded = record.keys.some(({ fingerprint }) => fingerprint === key.fingerprint);
        const base = isRecorded ? record : { ...record, ...nowhere, lastLogin: undefined };
        this.#files.keepLine(vm, completed, (now) => lineFor(completed, now));
        this.#files.writeRecord(vm, {
          ...base,
          ...knownPart(sighting),
          keys: completed,
          refused: record.refused.filter((one) => one.key.fingerprint !== key.fingerprint),
        });
      });
    });
  }

  /** @throws MintError where the key was refused, or another of its type pinned, meanwhile; those of writing */
  #pin(sighting: Sighting, grounds: Grounds): void {
    this.#files.locked(() => this.#pinLocked(sighting, grounds));
  }

  #pinLocked(sighting: Sighting, { evidence, block }: Grounds): void {
    const { vm, key } = sighting;
    const { record = emptyRecord } = this.#files.record(vm);
    const finding = findPin(this.#files.text(), vm);
    const counting = countingPins(finding, record, record, sighting);
    const isKnown = counting.some(({ fingerprint }) => fingerprint === key.fingerprint);
    const other = counting.find((one) => typeOf(one) === key.type);
    if (!isKnown && other !== undefined) throw pinnedMeanwhile(vm, other.fingerprint, key.fingerprint);
    if (!isKnown && evidence === 'first-use') refuseDenied(record, sighting);
    const now = new Date().toISOString();
    const pinned = { ...pinnedKey(key), evidence, firstSeen: now, pinnedAt: now };
    const before = counting.length === 0 ? [] : countingKeys(finding, record);
    const own = isKnown ? before : [...before, pinned];
    const keys = block === undefined ? own : withConsoleKeys(own, block);
    const line = lineFor(keys, finding);
    if (line !== undefined) this.#files.addLine(vm, line);
    const base = before.length === 0 ? { ...record, ...nowhere, lastLogin: undefined } : record;
    try {
      this.#files.writeRecord(vm, {
        ...base,
        ...knownPart(sighting),
        keys,
        console:
          (block && blockToKeep(record.console, block)) ??
          (record.console?.instance === sighting.instance ? record.console : undefined),
        refused: record.refused.filter((one) => one.key.fingerprint !== key.fingerprint),
      });
    } catch (error) {
      // A line without a record would pass for one that Mint wrote.
      if (finding.kind === 'absent') succeeds(() => this.#files.setLine(vm, undefined));
      throw error;
    }
    this.#putDerived(vm, blobsOf(keys));
  }

  /** The connection is refused whether or not this can be written. */
  #noteRefusal(
    sighting: Sighting,
    decision: Refused | Extract<Decision, { outcome: 'changed' }>,
    block: ConsoleBlock | undefined,
  ): void {
    const { vm, key } = sighting;
    const reason = reasons[decision.outcome];
    const isPin = decision.outcome === 'contradicted' && decision.pin.fingerprint === key.fingerprint;
    succeeds(() => {
      const known = this.#files.record(vm).record;
      const last = known?.refused.find((one) => one.key.blob.equals(key.blob));
      const isNoted =
        reason === undefined ||
        isPin ||
        (last?.instance === sighting.instance &&
          last?.reason === reason &&
          isRecent(last.seenAt, refusalGrainMs));
      const isNewBlock = block !== undefined && blockToKeep(known?.console, block) !== known?.console;
      if (isNoted && !isNewBlock) return;
      this.#files.locked(() => {
        const { record = emptyRecord, damage } = this.#files.record(vm);
        if (damage !== undefined) return;
        const others = record.refused.filter((one) => !one.key.blob.equals(key.blob));
        const refusal = (why: RefusalReason): Refusal => ({
          key,
          reason: why,
          seenAt: new Date().toISOString(),
          ...knownPart(sighting),
        });
        this.#files.writeRecord(vm, {
          ...record,
          refused:
            isNoted || reason === undefined
              ? record.refused
              : [refusal(reason), ...others].slice(0, maxRefused),
          // What vouches for a pin is kept with the pin's instance.
          console:
            block !== undefined && !isAnotherInstance(record, block)
              ? blockToKeep(record.console, block)
              : record.console,
        });
      });
    });
  }

  #refuseOtherFirstKey({ vm, key }: Sighting, evidence: Grounds['evidence']): void {
    for (const held of this.#provisional.of(vm)) {
      if (held.key.blob.equals(key.blob)) continue;
      if (held.key.type === key.type) throw otherFirstKey(vm, held.key, key);
      if (held.evidence === 'console' && evidence === 'console') continue;
      throw new MintError(
        'host-key-type',
        `"${vm}" is making its first contact in another connection, which was shown its ${held.key.type} key`,
        { hint: 'connect again when that connection has logged in' },
      );
    }
  }

  /** @param found the derived file's text now, where the caller has read it */
  #putDerived(
    vm: string,
    keys: readonly HostKey[],
    found: string | undefined = readDerived(this.#files.of(vm).knownHosts),
  ): void {
    const { knownHosts, libsshKnownHosts } = this.#files.of(vm);
    // Only libssh reads it, and the proxy checks the key of a libssh client too: a full disk or a read-only
    // directory is no reason to refuse a login.
    succeeds(() => putDerived(libsshKnownHosts, libsshText(vm, keys), readDerived(libsshKnownHosts)));
    putDerived(knownHosts, derivedText(vm, keys), found);
  }

  /** The keys for the derived file: the pinned ones, and first keys whose type is not pinned. */
  #derivedKeys(vm: string, pins: readonly PinnedKey[]): HostKey[] {
    const isFree = ({ type }: HostKey) => !pins.some((one) => typeOf(one) === type);
    return [...blobsOf(pins), ...this.#provisionalKeys(vm).filter(isFree)];
  }

  #provisionalKeys(vm: string): HostKey[] {
    return this.#provisional.of(vm).map(({ key }) => key);
  }

  /** Leaves the file alone where it is another key's by now. */
  #removeProvisional({ vm, key }: Sighting): void {
    succeeds(() => {
      const { knownHosts } = this.#files.of(vm);
      const derived = readDerived(knownHosts);
      const isThere = derived !== undefined && keysIn(derived, vm).some(({ blob }) => blob.equals(key.blob));
      const record = this.#files.record(vm).record ?? emptyRecord;
      if (!isThere || record.keys.some(({ fingerprint }) => fingerprint === key.fingerprint)) return;
      const rest = this.#derivedKeys(vm, record.keys);
      this.#putDerived(vm, rest, derived);
    });
  }

  #entry(vm: string, finding: Finding): HostEntry | undefined {
    const { record, damage } = this.#files.record(vm);
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
          ? 'the line in known_hosts is gone: restored at the next connection to this instance'
          : undefined),
    };
  }
}

const nowhere = { instance: undefined, account: undefined, region: undefined };

const reasons: Readonly<Record<string, RefusalReason | undefined>> = {
  changed: 'changed',
  contradicted: 'changed',
  unverified: 'unverified',
  'type-not-pinned': 'type',
};

/** For what may fail without harm. A file that others can write to is never harmless. */
function succeeds(action: () => void): boolean {
  try {
    action();
    return true;
  } catch (error) {
    if (error instanceof MintError && error.code !== 'unsafe-permissions') return false;
    throw error;
  }
}

function isRecent(date: string | undefined, milliseconds: number): boolean {
  return date !== undefined && Math.abs(Date.now() - Date.parse(date)) < milliseconds;
}

/** @throws MintError `host-key-type` for a type whose signatures are not verified: certificates, security keys, DSA */
function refuseUnknownType({ vm, key }: Sighting): void {
  if (verifiableKeyTypes.has(key.type)) return;
  throw new MintError('host-key-type', `the server of "${vm}" presents a host key of type ${key.type}`, {
    hint: 'only plain keys are accepted: let the client ask for ssh-ed25519 (OpenSSH: -o HostKeyAlgorithms=ssh-ed25519)',
  });
}

function pinnedMeanwhile(vm: string, pinned: string, presented: string): MintError {
  const message = `another host key of "${vm}" was pinned meanwhile: ${pinned}, not ${presented}`;
  return new MintError('host-key-changed', message, {
    hint: `\`mint-ssh hosts show ${vm}\` says what is pinned; connect again`,
  });
}

/**
 * A first use counts for nothing against what another connection has learnt since this one's key was checked.
 * @throws MintError `host-key-unverified`
 */
function refuseDenied({ refused, console }: TrustRecord, { vm, key, ...at }: Sighting): void {
  const isRefused = refused.some(
    (one) => one.key.fingerprint === key.fingerprint && !isAnotherInstance(one, at),
  );
  const isDenied =
    console !== undefined && console.instance === at.instance && lookUp(console, key).kind === 'not-listed';
  if (!isRefused && !isDenied) return;
  const message = `the host key of "${vm}" was refused in another connection meanwhile: ${key.fingerprint}`;
  throw new MintError('host-key-unverified', message, {
    hint: 'connect again to see what AWS shows',
  });
}

function otherFirstKey(vm: string, held: HostKey, presented: HostKey): MintError {
  const message = `"${vm}" shows two different host keys to connections that are open at once: ${held.fingerprint} and ${presented.fingerprint}`;
  return new MintError('host-key-changed', message, {
    hint: 'neither is pinned yet: find out which one is the VM’s own before you connect again',
  });
}

function isVmName(name: string): boolean {
  try {
    return vmName(name) === name;
  } catch {
    return false;
  }
}
