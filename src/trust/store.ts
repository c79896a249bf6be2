/**
 * Checks host keys: applies `decide` to Mint's file, our records and the provisional keys, and pins the result. Only one
 * process, the agent, checks keys.
 */
import { MintError } from '../errors.ts';
import { verifiableKeyTypes } from '../ssh/host-key-algorithm.ts';
import type { HostKey } from '../ssh/hostkey.ts';
import { type ConsoleAnswer, type Decision, decide, lookUp, type Refused, typeOf } from './decide.ts';
import { keysIn, readDerived, removeOrphans } from './derived-file.ts';
import {
  blobsOf,
  blockToKeep,
  countingKeys,
  countingPins,
  hasMintKey,
  isComplete,
  lineFor,
  pinnedKey,
  withConsoleKeys,
  withKey,
  withoutUndefined,
  withProved,
  withRemembered,
} from './key-set.ts';
import { type Finding, findPin } from './known-hosts.ts';
import {
  type ConsoleBlock,
  type Evidence,
  isAnotherInstance,
  knownPart,
  type Pin,
  type PinnedKey,
  type Refusal,
  type RefusalReason,
  type Sighting,
} from './pin.ts';
import { isRecent, Pins, succeeds } from './pins.ts';
import { type Grounds, type Provisional, ProvisionalKeys } from './provisional.ts';
import { emptyRecord, maxRefused, type TrustRecord } from './record.ts';

export type { Pin, Sighting } from './pin.ts';
export type { HostEntry } from './pins.ts';
export type { Provisional } from './provisional.ts';

/** The same key is not recorded again if it is refused within this time. */
const refusalGrainMs = 10_000;

/** The result for a presented key. `new`: the derived file has the key, and the connection holds it as provisional. */
export type Checked =
  | { readonly outcome: 'ask-console' }
  | { readonly outcome: 'pinned'; readonly pin: Pin }
  | { readonly outcome: 'new'; readonly evidence: Evidence; readonly provisional: Provisional }
  | { readonly outcome: 'changed'; readonly pin: Pin }
  | Refused;

export class TrustStore extends Pins {
  readonly #provisional = new ProvisionalKeys({
    pin: (sighting, grounds) => this.#pin(sighting, grounds),
    remove: (sighting) => this.#removeProvisional(sighting),
  });

  /**
   * Called when an agent starts: removes the provisional keys of an earlier one.
   * @throws MintError `io-failed`
   */
  start(): void {
    removeOrphans(this.files.paths.hosts);
  }

  /**
   * Checks the key of one connection. If the result is `pinned` or `new`, the derived file has the VM's keys and this
   * one. Waits up to 200 ms while Mint is rewriting its file, or if a line is missing that our record has.
   *
   * @param console what AWS shows; for `not-asked` the result may be `ask-console`
   * @param mayAdopt whether the keys that ssh wrote to the derived file can be trusted: see `#adopt`
   * @throws MintError `known-hosts-corrupt`, `host-key-type` (a type that is never accepted, or another type is being
   *   pinned at this moment), `host-key-changed` (another first key is being pinned), `io-failed`, `unsafe-permissions`
   */
  async check(
    sighting: Sighting,
    console: ConsoleAnswer = { kind: 'silent', why: 'AWS was not asked' },
    mayAdopt: () => boolean = () => true,
  ): Promise<Checked> {
    refuseUnknownType(sighting);
    this.files.prepare();
    const { vm, key } = sighting;
    const finding = await this.files.find(vm, () => hasMintKey(this.files.record(vm).record));
    // From here on nothing is awaited, so two connections cannot get different first keys.
    const { record: read, damage } = this.files.record(vm);
    if (finding.kind === 'absent' && damage !== undefined) throw damage;
    const derived = readDerived(this.files.of(vm).knownHosts);
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
        this.putDerived(vm, withKey(keys, key), derived);
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

  /**
   * Pins a key without a connection: it came from the command that put it into the VM's user data.
   * @returns false if a key of the VM is pinned already
   * @throws MintError `io-failed`, `unsafe-permissions`, `known-hosts-corrupt`
   */
  pinForJob(vm: string, key: HostKey): boolean {
    return this.files.locked(() => {
      if (this.show(vm)?.pin !== undefined) return false;
      this.#pinLocked({ vm, key }, { evidence: 'job' });
      return true;
    });
  }

  /**
   * Pins another key that the server of a first use owns, unless a key of its type is pinned.
   * @throws MintError `io-failed`, `unsafe-permissions`, `known-hosts-corrupt`
   */
  addFirstUse(sighting: Sighting): void {
    this.files.locked(() => {
      const { record } = this.files.record(sighting.vm);
      const counting = countingKeys(findPin(this.files.text(), sighting.vm), record);
      // A pin that was accepted or verified meanwhile is not evidence for it.
      if (!counting.some(({ evidence }) => evidence === 'first-use')) return;
      if (counting.some((one) => typeOf(one) === sighting.key.type)) return;
      this.#pinLocked(sighting, { evidence: 'first-use' });
    });
  }

  /**
   * Removes from the derived file every key that is neither pinned nor provisional: keys that an ssh added in a session
   * with a host whose key is not pinned now.
   * @throws MintError `io-failed`, `unsafe-permissions`, `known-hosts-corrupt`
   */
  restoreDerived(vm: string): void {
    const { knownHosts } = this.files.of(vm);
    const derived = readDerived(knownHosts);
    if (derived === undefined) return;
    const counting = countingKeys(findPin(this.files.text(), vm), this.files.record(vm).record);
    this.putDerived(vm, this.#derivedKeys(vm, counting), derived);
  }

  /**
   * Takes over what ssh has written to the derived file (`UpdateHostKeys yes`). ssh adds a key only inside a session whose
   * host key is in the file, after the host has signed the session id with the new key; it drops keys that this host no
   * longer offers. The file is trusted only if it still has a key that is pinned now. A session that began with another
   * key, before the VM was forgotten or its key accepted, could add its own key, so the caller says whether such a session
   * is open (`mayAdopt`).
   *
   * @returns the record with these keys, which is written if possible
   */
  #adopt(vm: string, record: TrustRecord, derived: string | undefined, mayAdopt: () => boolean): TrustRecord {
    if (derived === undefined) return record;
    const adopted = withProved(record, keysIn(derived, vm), this.#provisionalKeys(vm));
    if (adopted === undefined || !mayAdopt()) return record;
    succeeds(() => {
      this.files.locked(() => {
        // The line first: while the record still has the old key too, either line matches one of its keys.
        this.files.keepLine(vm, record.keys, (finding) =>
          finding.kind === 'pin' ? lineFor(adopted.keys, finding) : undefined,
        );
        this.files.writeRecord(vm, adopted);
      });
    });
    return adopted;
  }

  #match(sighting: Sighting, pins: readonly Pin[], finding: Finding, derived: string | undefined): void {
    const { vm, key } = sighting;
    this.#provisional.settle(vm, key);
    const keys = withKey(this.#derivedKeys(vm, pins), key);
    this.putDerived(vm, keys, derived);
    if (isComplete(pins, sighting, finding)) return;
    // The key is trusted even if this cannot be written: a full disk must not lock the user out.
    succeeds(() => {
      this.files.locked(() => {
        const { record = emptyRecord } = this.files.record(vm);
        const line = findPin(this.files.text(), vm);
        const counting = countingKeys(line, record);
        // Another process has changed it: the next connection completes it.
        if (!counting.some(({ fingerprint }) => fingerprint === key.fingerprint)) return;
        const completed = counting.map((one) =>
          one.fingerprint === key.fingerprint
            ? { firstSeen: new Date().toISOString(), ...withoutUndefined(one), ...pinnedKey(key) }
            : one,
        );
        const isRecorded = record.keys.some(({ fingerprint }) => fingerprint === key.fingerprint);
        const base = isRecorded ? record : { ...record, ...nowhere, lastLogin: undefined };
        this.files.keepLine(vm, completed, (now) => lineFor(completed, now));
        this.files.writeRecord(vm, {
          ...base,
          ...knownPart(sighting),
          keys: completed,
          refused: record.refused.filter((one) => one.key.fingerprint !== key.fingerprint),
        });
      });
    });
  }

  /** @throws MintError if the key was refused, or another of its type pinned, in the meantime; `io-failed` */
  #pin(sighting: Sighting, grounds: Grounds): void {
    this.files.locked(() => this.#pinLocked(sighting, grounds));
  }

  #pinLocked(sighting: Sighting, { evidence, block }: Grounds): void {
    const { vm, key } = sighting;
    const { record = emptyRecord } = this.files.record(vm);
    const finding = findPin(this.files.text(), vm);
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
    if (line !== undefined) this.files.addLine(vm, line);
    const base = before.length === 0 ? { ...record, ...nowhere, lastLogin: undefined } : record;
    try {
      this.files.writeRecord(vm, {
        ...base,
        ...knownPart(sighting),
        keys,
        console:
          (block && blockToKeep(record.console, block)) ??
          (record.console?.instance === sighting.instance ? record.console : undefined),
        refused: record.refused.filter((one) => one.key.fingerprint !== key.fingerprint),
      });
    } catch (error) {
      // A line without a record would look like one of Mint's.
      if (finding.kind === 'absent') succeeds(() => this.files.setLine(vm, undefined));
      throw error;
    }
    this.putDerived(vm, blobsOf(keys));
  }

  /** Records a refusal. The connection is refused even if this cannot be written. */
  #noteRefusal(
    sighting: Sighting,
    decision: Refused | Extract<Decision, { outcome: 'changed' }>,
    block: ConsoleBlock | undefined,
  ): void {
    const { vm, key } = sighting;
    const reason = reasons[decision.outcome];
    const isPin = decision.outcome === 'contradicted' && decision.pin.fingerprint === key.fingerprint;
    succeeds(() => {
      const known = this.files.record(vm).record;
      const last = known?.refused.find((one) => one.key.blob.equals(key.blob));
      const isNoted =
        reason === undefined ||
        isPin ||
        (last?.instance === sighting.instance &&
          last?.reason === reason &&
          isRecent(last.seenAt, refusalGrainMs));
      const isNewBlock = block !== undefined && blockToKeep(known?.console, block) !== known?.console;
      if (isNoted && !isNewBlock) return;
      this.files.locked(() => {
        const { record = emptyRecord, damage } = this.files.record(vm);
        if (damage !== undefined) return;
        const others = record.refused.filter((one) => !one.key.blob.equals(key.blob));
        const refusal = (why: RefusalReason): Refusal => ({
          key,
          reason: why,
          seenAt: new Date().toISOString(),
          ...knownPart(sighting),
        });
        this.files.writeRecord(vm, {
          ...record,
          refused:
            isNoted || reason === undefined
              ? record.refused
              : [refusal(reason), ...others].slice(0, maxRefused),
          // The evidence for a pin belongs to the pin's instance.
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

  /** The keys for the derived file: the pinned ones, and provisional ones whose type is not pinned. */
  #derivedKeys(vm: string, pins: readonly PinnedKey[]): HostKey[] {
    const isFree = ({ type }: HostKey) => !pins.some((one) => typeOf(one) === type);
    return [...blobsOf(pins), ...this.#provisionalKeys(vm).filter(isFree)];
  }

  #provisionalKeys(vm: string): HostKey[] {
    return this.#provisional.of(vm).map(({ key }) => key);
  }

  /** Does nothing if the file has another key by now. */
  #removeProvisional({ vm, key }: Sighting): void {
    succeeds(() => {
      const { knownHosts } = this.files.of(vm);
      const derived = readDerived(knownHosts);
      const isThere = derived !== undefined && keysIn(derived, vm).some(({ blob }) => blob.equals(key.blob));
      const record = this.files.record(vm).record ?? emptyRecord;
      if (!isThere || record.keys.some(({ fingerprint }) => fingerprint === key.fingerprint)) return;
      const rest = this.#derivedKeys(vm, record.keys);
      this.putDerived(vm, rest, derived);
    });
  }
}

const nowhere = { instance: undefined, account: undefined, region: undefined };

const reasons: Readonly<Record<string, RefusalReason | undefined>> = {
  changed: 'changed',
  contradicted: 'changed',
  unverified: 'unverified',
  'type-not-pinned': 'type',
};

/** @throws MintError `host-key-type` for a type whose signatures are not verified: certificates, security keys, DSA */
function refuseUnknownType({ vm, key }: Sighting): void {
  if (verifiableKeyTypes.has(key.type)) return;
  throw new MintError('host-key-type', `the server of "${vm}" presents a host key of type ${key.type}`, {
    hint: 'only plain keys are accepted: let the client ask for ssh-ed25519 (OpenSSH: -o HostKeyAlgorithms=ssh-ed25519)',
  });
}

function pinnedMeanwhile(vm: string, pinned: string, presented: string): MintError {
  const message = `another host key of "${vm}" was pinned at the same time: ${pinned}, not ${presented}`;
  return new MintError('host-key-changed', message, {
    hint: `\`mint-ssh hosts show ${vm}\` shows the pinned keys; connect again`,
  });
}

/**
 * A first use does not override what another connection has learned since this one's key was checked.
 * @throws MintError `host-key-unverified`
 */
function refuseDenied({ refused, console }: TrustRecord, { vm, key, ...at }: Sighting): void {
  const isRefused = refused.some(
    (one) => one.key.fingerprint === key.fingerprint && !isAnotherInstance(one, at),
  );
  const isDenied =
    console !== undefined && console.instance === at.instance && lookUp(console, key).kind === 'not-listed';
  if (!isRefused && !isDenied) return;
  const message = `the host key of "${vm}" was refused in another connection at the same time: ${key.fingerprint}`;
  throw new MintError('host-key-unverified', message, {
    hint: 'connect again to see what AWS shows',
  });
}

function otherFirstKey(vm: string, held: HostKey, presented: HostKey): MintError {
  const message = `"${vm}" shows different host keys to two simultaneous connections: ${held.fingerprint} and ${presented.fingerprint}`;
  return new MintError('host-key-changed', message, {
    hint: 'neither is pinned yet: find out which one belongs to the VM before you connect again',
  });
}
