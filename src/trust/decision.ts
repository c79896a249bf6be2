/** What a person decides about a VM's host key, whatever it was that we trusted before. */
import { existsSync } from 'node:fs';
import { MintError } from '../errors.ts';
import { ensureDerived, removeFile } from './derived-file.ts';
import { findPin, isFingerprint } from './known-hosts.ts';
import type { Ledger } from './ledger.ts';
import type { Pin } from './pin.ts';
import { emptyRecord, knownAs, withoutRefusal } from './record.ts';

/**
 * Pins a fingerprint because a person said so. The key itself is known when it is the one refused last or
 * the one on record; any other is pinned by its fingerprint alone, and the key added when it is seen.
 *
 * @throws MintError `usage` when it is no fingerprint; `known-hosts-corrupt` when the file as a whole is
 *   refused; `io-failed`, `unsafe-permissions`
 */
export function accept(ledger: Ledger, vm: string, fingerprint: string): Pin {
  if (!isFingerprint(fingerprint)) {
    throw new MintError('usage', 'a fingerprint is "SHA256:" and 43 base64 characters', {
      hint: 'copy it from the warning, or from `ssh-keygen -l` on the VM',
    });
  }
  return ledger.locked(() => {
    const { record = emptyRecord } = ledger.record(vm);
    const pinnedAt = new Date().toISOString();
    const known = knownAs(fingerprint, record);
    const pin: Pin = { ...known, proof: 'accepted', pinnedAt, consoleShows: undefined };
    const { knownHosts } = ledger.files(vm);
    ledger.setLine(vm, fingerprint);
    ledger.writeRecord(vm, { ...withoutRefusal(record, fingerprint), pin });
    if (pin.key === undefined) removeFile(knownHosts);
    else ensureDerived(knownHosts, vm, pin.key);
    return pin;
  });
}

/** Removes every trace of a VM; false when there was none. @throws MintError */
export function forget(ledger: Ledger, vm: string): boolean {
  // Where there is nothing, nothing is made either: not even the lock.
  if (!existsSync(ledger.paths.hosts) && findPin(ledger.text(), vm).kind === 'absent') return false;
  return ledger.locked(() => {
    // A file that is refused as a whole is refused before anything is removed.
    const hasLine = findPin(ledger.text(), vm).kind !== 'absent';
    const files = ledger.files(vm);
    // The record goes first: were it to outlive the line, it would bring the line back.
    const hadFiles = [files.record, files.knownHosts].map(removeFile).includes(true);
    if (hasLine) ledger.removeLine(vm);
    return hasLine || hadFiles;
  });
}
