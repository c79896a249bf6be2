import { join } from 'node:path';
import { MintError } from '../errors.ts';
import { ensurePrivateDirectory } from '../platform/files.ts';
import { withLock } from '../platform/lock.ts';
import { type Paths, type VmPaths, vmPaths } from '../platform/paths.ts';
import { vmName } from '../settings/vm-name.ts';
import { otherPin } from './disagreement.ts';
import { type Finding, findPin, withoutPin, withPin } from './known-hosts.ts';
import { badLine, findSettledPin, readKnownHosts, updateKnownHosts } from './known-hosts-file.ts';
import { readRecord, type TrustRecord, writeRecord } from './record.ts';

/** Writers hold the lock for as long as a disk takes to be sure: a hundred of them, on a slow one, for ten seconds. */
const lockMilliseconds = 30_000;

/** A record, or why there is none that can be read. */
export type RecordFinding =
  | { readonly record: TrustRecord | undefined; readonly damage?: undefined }
  | { readonly record?: undefined; readonly damage: MintError };

/** The files of the trust store: Mint's, our records, and the lock under which both are written. */
export class Ledger {
  readonly paths: Paths;
  /** Mint's file as this process last left it. */
  #written: string | undefined;

  constructor(paths: Paths) {
    this.paths = paths;
  }

  /** Makes sure that the directories are there and private. @throws MintError `unsafe-permissions`, `io-failed` */
  prepare(): void {
    ensurePrivateDirectory(this.paths.dir);
    ensurePrivateDirectory(this.paths.hosts);
  }

  /** Runs `action` while no other process of ours writes. @throws MintError */
  locked<T>(action: () => T): T {
    this.prepare();
    // No VM's name starts with a dot.
    return withLock(join(this.paths.hosts, '.lock'), lockMilliseconds, action);
  }

  files(vm: string): VmPaths {
    return vmPaths(this.paths, vmName(vm));
  }

  /** @throws MintError when the file as a whole is refused */
  text(): string {
    return readKnownHosts(this.paths.knownHosts);
  }

  /** See `findSettledPin`: a line that our record knows and the file has not is looked for longer. */
  async find(vm: string): Promise<Exclude<Finding, { kind: 'bad' }>> {
    const look = (expected: boolean) =>
      findSettledPin(this.paths.knownHosts, vm, { expected, ours: this.#written });
    const finding = await look(false);
    const isMissing = finding.kind === 'absent' && this.record(vm).record?.pin !== undefined;
    return isMissing ? await look(true) : finding;
  }

  /** A record that is damaged is handed back as such: where Mint's file has the answer, it does not matter. */
  record(vm: string): RecordFinding {
    try {
      return { record: readRecord(this.files(vm).record) };
    } catch (error) {
      if (error instanceof MintError && error.code === 'known-hosts-corrupt') return { damage: error };
      throw error;
    }
  }

  /** Under the lock. @throws MintError `io-failed` */
  writeRecord(vm: string, record: TrustRecord): void {
    writeRecord(this.files(vm).record, record);
  }

  /**
   * Adds the VM's line where there is none. Under the lock.
   * @throws MintError `host-key-changed` when another key is pinned, `known-hosts-corrupt` when the line is bad
   */
  addLine(vm: string, fingerprint: string): void {
    this.#update((text) => {
      const finding = findPin(text, vm);
      if (finding.kind === 'bad') throw badLine(this.paths.knownHosts, vm, finding);
      if (finding.kind === 'absent') return withPin(text, vm, fingerprint);
      if (finding.fingerprint !== fingerprint) throw otherPin(vm, finding.fingerprint, fingerprint);
      return text;
    });
  }

  /** Whatever the VM's line was. Under the lock. @throws MintError */
  setLine(vm: string, fingerprint: string): void {
    this.#update((text) => withPin(text, vm, fingerprint));
  }

  /** Under the lock. @throws MintError */
  removeLine(vm: string): void {
    this.#update((text) => withoutPin(text, vm));
  }

  #update(edit: (text: string) => string): void {
    this.#written = updateKnownHosts(this.paths.knownHosts, this.#written, edit) ?? this.#written;
  }
}
