/**
 * Which host keys are trusted: the decision over Mint's file, our records and the keys that are still
 * provisional. One process (the agent) judges; others may accept and forget beside it.
 *
 * Mint's file is the authority. Our record adds what it has no room for, and restores a line that was lost.
 */
import { existsSync } from 'node:fs';
import type { Paths } from '../config/paths.ts';
import { MintError } from '../errors.ts';
import type { HostKey } from '../ssh/hostkey.ts';
import { ensureDerived, holdsKey, removeFile, removeOrphans } from './derived-file.ts';
import { otherFirstKey, refuseOtherType, refuseUnknownType } from './disagreement.ts';
import type { ConsoleFinding } from './evidence.ts';
import { type HostEntry, listEntries, readEntry } from './host-entry.ts';
import { type Finding, findPin, isFingerprint } from './known-hosts.ts';
import { Ledger } from './ledger.ts';
import {
  isAnotherInstance,
  isComplete,
  knownPart,
  type Pin,
  type Place,
  type Proof,
  type Refusal,
  type Sighting,
} from './pin.ts';
import { type Provisional, ProvisionalKeys } from './provisional.ts';
import { emptyRecord, knownAs, type TrustRecord, withoutRefusal } from './record.ts';

export type { HostEntry } from './host-entry.ts';
export type { Pin, Proof, Refusal, Sighting } from './pin.ts';
export type { Provisional } from './provisional.ts';

/** What is to happen with a key that a server presented. */
export type Judgement =
  /** Pinned and equal; `restored`: the line was lost, and our record brought it back. */
  | { readonly kind: 'match'; readonly restored: boolean }
  /** A first key. The derived file holds it before this is given. */
  | { readonly kind: 'unknown'; readonly provisional: Provisional }
  /** Another key is pinned. Nothing that is trusted has changed. */
  | { readonly kind: 'changed'; readonly pinned: Pin; readonly presented: HostKey };

/** A login this soon after the one on record is not written down: parallel logins come in dozens. */
const loginGrainMilliseconds = 10_000;
/** Likewise for the same key refused again. */
const refusalGrainMilliseconds = 10_000;

export class TrustStore {
  readonly #ledger: Ledger;
  readonly #provisional = new ProvisionalKeys({
    pin: (sighting, proof) => this.#pin(sighting, proof),
    remove: (sighting) => this.#removeProvisional(sighting),
  });

  constructor(paths: Paths) {
    this.#ledger = new Ledger(paths);
  }

  /** For an agent that starts: what another one left as provisional goes. @throws MintError `io-failed` */
  start(): void {
    removeOrphans(this.#ledger.paths.hosts);
  }

  /**
   * Judges the key of one connection. On a match and for a first key, the derived file holds exactly this
   * key when the promise resolves. Takes up to 200 ms where Mint is rewriting its file or a line is missing
   * that our record knows; else it waits for nothing.
   *
   * @throws MintError `known-hosts-corrupt`, `host-key-type`, `host-key-changed` (another first key stands
   *   for this VM), `io-failed`, `unsafe-permissions`
   */
  async judge(sighting: Sighting): Promise<Judgement> {
    refuseUnknownType(sighting);
    this.#ledger.prepare();
    const { vm, key } = sighting;
    const finding = await this.#ledger.find(vm, this.#ledger.record(vm).record?.pin !== undefined);
    // From here to the end nothing waits, so that two connections cannot be given different first keys.
    const { record, damage } = this.#ledger.record(vm);
    if (finding.kind === 'absent') {
      if (damage !== undefined) throw damage;
      const standing = this.#provisional.of(vm);
      if (standing !== undefined && !standing.key.blob.equals(key.blob)) {
        throw otherFirstKey(vm, standing.key, key);
      }
    }
    const pinned = pinnedBy(finding, record);
    if (pinned?.fingerprint === key.fingerprint) {
      return this.#match(sighting, pinned, finding.kind === 'absent');
    }
    if (pinned === undefined || (finding.kind === 'absent' && isAnotherInstance(pinned, sighting))) {
      ensureDerived(this.#ledger.files(vm).knownHosts, vm, key);
      return { kind: 'unknown', provisional: this.#provisional.hold(sighting) };
    }
    this.#noteRefusal(sighting);
    refuseOtherType(sighting, pinned);
    return { kind: 'changed', pinned, presented: key };
  }

  /** The key that was refused last, for whoever wants to accept it. @throws MintError */
  lastSeen(vm: string): Refusal | undefined {
    return this.#ledger.record(vm).record?.refused;
  }

  /**
   * Pins a fingerprint because a person said so. The key itself is known when it is the one refused last or
   * the one on record; any other is pinned by its fingerprint alone, and the key added when it is seen.
   *
   * @throws MintError `usage` when it is no fingerprint; `known-hosts-corrupt` when the file as a whole is
   *   refused; `io-failed`, `unsafe-permissions`
   */
  accept(vm: string, fingerprint: string): Pin {
    if (!isFingerprint(fingerprint)) {
      throw new MintError('usage', 'a fingerprint is "SHA256:" and 43 base64 characters', {
        hint: 'copy it from the warning, or from `ssh-keygen -l` on the VM',
      });
    }
    return this.#ledger.locked(() => {
      const { record = emptyRecord } = this.#ledger.record(vm);
      const pinnedAt = new Date().toISOString();
      const known = knownAs(fingerprint, record);
      const pin: Pin = { ...known, proof: 'accepted', pinnedAt, consoleShows: undefined };
      const { knownHosts } = this.#ledger.files(vm);
      this.#ledger.setLine(vm, fingerprint);
      this.#ledger.writeRecord(vm, { ...withoutRefusal(record, fingerprint), pin });
      if (pin.key === undefined) removeFile(knownHosts);
      else ensureDerived(knownHosts, vm, pin.key);
      return pin;
    });
  }

  /** What is on record of the pinned key, if anything is. @throws MintError `unsafe-permissions`, `io-failed` */
  pinned(vm: string): Pin | undefined {
    return this.#ledger.record(vm).record?.pin;
  }

  /** A first key that AWS contradicts: `accept` knows it then. */
  refuse(sighting: Sighting): void {
    this.#noteRefusal(sighting);
  }

  /**
   * Adds to a pin what AWS said of it after it was made: the key is the console's, or the console shows
   * another. False when this key is no longer the pinned one, or it could not be written.
   */
  learn(vm: string, fingerprint: string, finding: ConsoleFinding, place: Place): boolean {
    let learnt = false;
    const written = succeeds(() => {
      this.#ledger.locked(() => {
        const { record } = this.#ledger.record(vm);
        if (record?.pin?.fingerprint !== fingerprint) return;
        const pin = { ...record.pin, ...knownPart(place), ...consolePart(record.pin, finding) };
        this.#ledger.writeRecord(vm, { ...record, pin });
        learnt = true;
      });
    });
    return written && learnt;
  }

  /** Removes every trace of a VM; false when there was none. @throws MintError */
  forget(vm: string): boolean {
    // Where there is nothing, nothing is made either: not even the lock.
    if (!existsSync(this.#ledger.paths.hosts) && findPin(this.#ledger.text(), vm).kind === 'absent')
      return false;
    return this.#ledger.locked(() => {
      // A file that is refused as a whole is refused before anything is removed.
      const hasLine = findPin(this.#ledger.text(), vm).kind !== 'absent';
      const files = this.#ledger.files(vm);
      // The record goes first: were it to outlive the line, it would bring the line back.
      const hadFiles = [files.record, files.knownHosts].map(removeFile).includes(true);
      if (hasLine) this.#ledger.removeLine(vm);
      return hasLine || hadFiles;
    });
  }

  /** Every VM that is known, by name. @throws MintError `known-hosts-corrupt` when the file as a whole is refused */
  list(): HostEntry[] {
    return listEntries(this.#ledger);
  }

  /** The same for one VM; undefined when nothing is known of it. @throws MintError */
  show(vm: string): HostEntry | undefined {
    return readEntry(this.#ledger, vm);
  }

  /** Notes that a login succeeded now. False when that could not be written, which is no reason to end it. */
  noteLogin(vm: string): boolean {
    return succeeds(() => {
      const last = this.#ledger.record(vm).record?.pin?.lastLogin;
      if (isRecent(last, loginGrainMilliseconds)) return;
      this.#ledger.locked(() => {
        const { record } = this.#ledger.record(vm);
        if (record?.pin === undefined) return;
        const lastLogin = new Date().toISOString();
        this.#ledger.writeRecord(vm, { ...record, pin: { ...record.pin, lastLogin } });
      });
    });
  }

  #match(sighting: Sighting, pinned: Pin, lost: boolean): Judgement {
    const { vm, key } = sighting;
    ensureDerived(this.#ledger.files(vm).knownHosts, vm, key);
    if (this.#provisional.of(vm)?.key.blob.equals(key.blob)) this.#provisional.settle(vm);
    if (!lost && isComplete(pinned, sighting)) return { kind: 'match', restored: false };
    // The key is trusted whether or not this can be written: a full disk must not lock anyone out.
    const written = succeeds(() => {
      this.#ledger.locked(() => {
        if (lost) this.#ledger.addLine(vm, key.fingerprint);
        this.#recordPin(sighting, (known) => ({ firstSeen: new Date().toISOString(), ...known }));
      });
    });
    return { kind: 'match', restored: lost && written };
  }

  #pin(sighting: Sighting, proof: Proof): void {
    const { vm, key } = sighting;
    this.#ledger.locked(() => {
      this.#ledger.addLine(vm, key.fingerprint);
      const now = new Date().toISOString();
      this.#recordPin(sighting, () => ({ proof, firstSeen: now, pinnedAt: now }));
      ensureDerived(this.#ledger.files(vm).knownHosts, vm, key);
    });
  }

  /** Writes down the sighted key as the pinned one. `details` is given what was on record of this key. */
  #recordPin({ vm, key, ...place }: Sighting, details: (known: Pin | undefined) => Partial<Pin>): void {
    const { record = emptyRecord } = this.#ledger.record(vm);
    const known = record.pin?.fingerprint === key.fingerprint ? record.pin : undefined;
    const { fingerprint, type } = key;
    const pin: Pin = { ...details(known), fingerprint, key, type, ...knownPart(place) };
    this.#ledger.writeRecord(vm, { ...withoutRefusal(record, fingerprint), pin });
  }

  /** A changed key is blocked whether or not this can be written. */
  #noteRefusal({ vm, key, ...place }: Sighting): void {
    succeeds(() => {
      const noted = this.#ledger.record(vm).record?.refused;
      const again = noted?.key.blob.equals(key.blob) && noted.instance === place.instance;
      if (again && isRecent(noted?.seenAt, refusalGrainMilliseconds)) return;
      this.#ledger.locked(() => {
        const { record = emptyRecord } = this.#ledger.record(vm);
        const refused = { key, seenAt: new Date().toISOString(), ...place };
        this.#ledger.writeRecord(vm, { ...record, refused });
      });
    });
  }

  /** Leaves the file alone where it is another key's by now, or that of a pin. */
  #removeProvisional({ vm, key }: Sighting): void {
    succeeds(() => {
      const { knownHosts } = this.#ledger.files(vm);
      const pinned = this.#ledger.record(vm).record?.pin?.fingerprint === key.fingerprint;
      if (!pinned && holdsKey(knownHosts, vm, key)) removeFile(knownHosts);
    });
  }
}

/** Mint's file decides; of the key it names, our record may know more. Without a line, our record decides. */
function pinnedBy(finding: Finding, record: TrustRecord | undefined): Pin | undefined {
  if (finding.kind !== 'pin') return record?.pin;
  return record?.pin?.fingerprint === finding.fingerprint ? record.pin : { fingerprint: finding.fingerprint };
}

/** A person's word stays the reason for a pin; what the console shows is noted beside it. */
function consolePart(pin: Pin, finding: ConsoleFinding): Partial<Pin> {
  if (finding.kind === 'silent') return {};
  if (finding.kind === 'differs') return { consoleShows: finding.fingerprint };
  return { proof: pin.proof === 'accepted' ? 'accepted' : 'console', consoleShows: undefined };
}

function isRecent(date: string | undefined, milliseconds: number): boolean {
  return date !== undefined && Math.abs(Date.now() - Date.parse(date)) < milliseconds;
}

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
