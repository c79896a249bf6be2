/** The files of the trust store: Mint's, our records, ssh's, and the lock under which they are written. */
import { join } from 'node:path';
import { MintError } from '../errors.ts';
import { ensurePrivateDirectory, writeAtomic } from '../platform/files.ts';
import { withLock } from '../platform/lock.ts';
import { type Paths, type VmPaths, vmPaths } from '../platform/paths.ts';
import { vmName } from '../settings/vm-name.ts';
import { type Finding, findPin, withoutPin, withPin } from './known-hosts.ts';
import { badLine, findSettledPin, readKnownHosts, updateKnownHosts } from './known-hosts-file.ts';
import { formatRecord, readRecord, type TrustRecord } from './record.ts';

/** A writer holds the lock until the disk has the data: a hundred writers on a slow disk take ten seconds. */
const lockMs = 30_000;

/** A record, or the reason why it cannot be read. */
export type RecordFinding =
  | { readonly record: TrustRecord | undefined; readonly damage?: undefined }
  | { readonly record?: undefined; readonly damage: MintError };

export class TrustFiles {
  readonly paths: Paths;
  /** The identity of Mint's file after the last write of this process. */
  #written: string | undefined;

  constructor(paths: Paths) {
    this.paths = paths;
  }

  /**
   * Makes sure that the directories exist and are private.
   * @throws MintError `unsafe-permissions`, `io-failed`
   */
  prepare(): void {
    ensurePrivateDirectory(this.paths.dir);
    ensurePrivateDirectory(this.paths.hosts);
  }

  /**
   * Runs `action` while no other mint-ssh process writes.
   * @throws MintError `io-failed` after 30 s, `unsafe-permissions`, and what `action` throws
   */
  locked<T>(action: () => T): T {
    this.prepare();
    // No VM's name starts with a dot.
    return withLock(join(this.paths.hosts, '.lock'), lockMs, action);
  }

  of(vm: string): VmPaths {
    return vmPaths(this.paths, vmName(vm));
  }

  /**
   * @returns Mint's file as text
   * @throws MintError `known-hosts-corrupt`, `unsafe-permissions` or `io-failed` if the file as a whole is refused
   */
  text(): string {
    return readKnownHosts(this.paths.knownHosts);
  }

  /**
   * Reads the VM's line in Mint's file: see `findSettledPin`.
   * @param expected whether our record has a key that should have a line; the line is then looked for longer
   */
  async find(vm: string, expected: () => boolean): Promise<Exclude<Finding, { kind: 'bad' }>> {
    const look = (isExpected: boolean) =>
      findSettledPin(this.paths.knownHosts, vm, { expected: isExpected, ours: this.#written });
    const finding = await look(false);
    return finding.kind === 'absent' && expected() ? await look(true) : finding;
  }

  /** Returns a damaged record as such: it does not matter if Mint's file has the answer. */
  record(vm: string): RecordFinding {
    try {
      return { record: readRecord(this.of(vm).record) };
    } catch (error) {
      if (error instanceof MintError && error.code === 'known-hosts-corrupt') return { damage: error };
      throw error;
    }
  }

  /**
   * Under the lock.
   * @throws MintError `io-failed`
   */
  writeRecord(vm: string, record: TrustRecord): void {
    writeAtomic(this.of(vm).record, formatRecord(record), { mode: 0o600 });
  }

  /**
   * Adds the VM's line if it does not exist. Under the lock.
   * @throws MintError `host-key-changed` when another key has a line, `known-hosts-corrupt` when the line is bad
   */
  addLine(vm: string, fingerprint: string): void {
    this.#update((text) => {
      const finding = findPin(text, vm);
      if (finding.kind === 'bad') throw badLine(this.paths.knownHosts, vm, finding);
      if (finding.kind === 'absent') return withPin(text, vm, fingerprint);
      if (finding.fingerprint !== fingerprint) throw otherLine(vm, finding.fingerprint, fingerprint);
      return text;
    });
  }

  /**
   * Edits the VM's line if it is missing or has one of these keys. Mint has written any other line since it was read here,
   * and that line stays. Under the lock.
   *
   * @param choose returns the fingerprint for the current line; undefined for no line
   * @throws MintError `host-key-changed` when another key has a line, `known-hosts-corrupt` when the line is bad
   */
  keepLine(
    vm: string,
    keys: readonly { readonly fingerprint: string }[],
    choose: (finding: Finding) => string | undefined,
  ): void {
    this.#update((text) => {
      const finding = findPin(text, vm);
      if (finding.kind === 'bad') throw badLine(this.paths.knownHosts, vm, finding);
      if (finding.kind === 'pin' && !keys.some(({ fingerprint }) => fingerprint === finding.fingerprint)) {
        throw otherLine(vm, finding.fingerprint, keys.map(({ fingerprint }) => fingerprint).join(', '));
      }
      const chosen = choose(finding);
      return chosen === undefined ? withoutPin(text, vm) : withPin(text, vm, chosen);
    });
  }

  /**
   * Replaces the VM's line, or removes it without a fingerprint. Under the lock.
   * @throws MintError `io-failed`
   */
  setLine(vm: string, fingerprint: string | undefined): void {
    this.#update((text) =>
      fingerprint === undefined ? withoutPin(text, vm) : withPin(text, vm, fingerprint),
    );
  }

  #update(edit: (text: string) => string): void {
    this.#written = updateKnownHosts(this.paths.knownHosts, this.#written, edit) ?? this.#written;
  }
}

function otherLine(vm: string, pinned: string, presented: string): MintError {
  const message = `another host key of "${vm}" was pinned at the same time: ${pinned}, not ${presented}`;
  return new MintError('host-key-changed', message, {
    hint: `\`mint-ssh hosts show ${vm}\` shows the pinned keys; connect again`,
  });
}
