/**
 * Which host keys are trusted: the decision over Mint's file, our records and the keys that are still
 * provisional. One process (the agent) judges; others may accept and forget beside it.
 *
 * Mint's file is the authority. Our record adds what it has no room for, and restores a line that was lost.
 */
import type { Paths } from '../platform/paths.ts';
import type { HostKey } from '../ssh/hostkey.ts';
import { accept, forget } from './decision.ts';
import { ensureDerived, holdsKey, removeFile, removeOrphans } from './derived-file.ts';
import { otherFirstKey, refuseOtherType, refuseUnknownType } from './disagreement.ts';
import type { ConsoleFinding } from './evidence.ts';
import { type HostEntry, listEntries, readEntry } from './host-entry.ts';
import type { Finding } from './known-hosts.ts';
import { Ledger } from './ledger.ts';
import { noteConsole, noteLogin, noteRefusal, succeeds } from './note.ts';
import {
  isAnotherInstance,
  isComplete,
  knownPart,
  type Pin,
  type Place,
  type Proof,
  type Sighting,
} from './pin.ts';
import { type Provisional, ProvisionalKeys } from './provisional.ts';
import { emptyRecord, type TrustRecord, withoutRefusal } from './record.ts';

export type { HostEntry } from './host-entry.ts';
export type { Pin, Proof, Sighting } from './pin.ts';
export type { Provisional } from './provisional.ts';

/** What is to happen with a key that a server presented. */
export type Judgement =
  /** Pinned and equal. A line that was lost is brought back from our record. `pinned`: as it was before that. */
  | { readonly kind: 'match'; readonly pinned: Pin }
  /** A first key. The derived file holds it before this is given. */
  | { readonly kind: 'unknown'; readonly provisional: Provisional }
  /** Another key is pinned. Nothing that is trusted has changed. */
  | { readonly kind: 'changed'; readonly pinned: Pin; readonly presented: HostKey };

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
   * key when the promise resolves. Takes up to 200 ms where Mint is rewriting its file, and as long where a line is
   * missing that our record knows; else it waits for nothing.
   *
   * @throws MintError `known-hosts-corrupt`, `host-key-type`, `host-key-changed` (another first key stands
   *   for this VM), `io-failed`, `unsafe-permissions`
   */
  async judge(sighting: Sighting): Promise<Judgement> {
    refuseUnknownType(sighting);
    this.#ledger.prepare();
    const { vm, key } = sighting;
    const finding = await this.#ledger.find(vm);
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
      this.#match(sighting, pinned, finding.kind === 'absent');
      return { kind: 'match', pinned };
    }
    if (pinned === undefined || (finding.kind === 'absent' && isAnotherInstance(pinned, sighting))) {
      ensureDerived(this.#ledger.files(vm).knownHosts, vm, key);
      return { kind: 'unknown', provisional: this.#provisional.hold(sighting) };
    }
    noteRefusal(this.#ledger, sighting);
    refuseOtherType(sighting, pinned);
    return { kind: 'changed', pinned, presented: key };
  }

  /** What is on record of the pinned key, if anything is. @throws MintError `unsafe-permissions`, `io-failed` */
  pinned(vm: string): Pin | undefined {
    return this.#ledger.record(vm).record?.pin;
  }

  /** Every VM that is known, by name. @throws MintError `known-hosts-corrupt` when the file as a whole is refused */
  list(): HostEntry[] {
    return listEntries(this.#ledger);
  }

  /** The same for one VM; undefined when nothing is known of it. @throws MintError */
  show(vm: string): HostEntry | undefined {
    return readEntry(this.#ledger, vm);
  }

  /** A person trusts this key: see there. @throws MintError `usage`, `known-hosts-corrupt`, `io-failed`, `unsafe-permissions` */
  accept(vm: string, fingerprint: string): Pin {
    return accept(this.#ledger, vm, fingerprint);
  }

  /** Removes every trace of a VM; false when there was none. @throws MintError */
  forget(vm: string): boolean {
    return forget(this.#ledger, vm);
  }

  /** A first key that AWS contradicts: `accept` knows it then. */
  refuse(sighting: Sighting): void {
    noteRefusal(this.#ledger, sighting);
  }

  /** What AWS said of a pin after it was made. False where the pin is another one by now, or it was not written. */
  learn(vm: string, fingerprint: string, finding: ConsoleFinding, place: Place): boolean {
    return noteConsole(this.#ledger, vm, fingerprint, finding, place);
  }

  /** A login succeeded now. False when that could not be written, which is no reason to end it. */
  noteLogin(vm: string): boolean {
    return noteLogin(this.#ledger, vm);
  }

  #match(sighting: Sighting, pinned: Pin, lost: boolean): void {
    const { vm, key } = sighting;
    ensureDerived(this.#ledger.files(vm).knownHosts, vm, key);
    if (this.#provisional.of(vm)?.key.blob.equals(key.blob)) this.#provisional.settle(vm);
    if (!lost && isComplete(pinned, sighting)) return;
    // The key is trusted whether or not this can be written: a full disk must not lock anyone out.
    succeeds(() => {
      this.#ledger.locked(() => {
        if (lost) this.#ledger.addLine(vm, key.fingerprint);
        this.#recordPin(sighting, (known) => ({ firstSeen: new Date().toISOString(), ...known }));
      });
    });
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
