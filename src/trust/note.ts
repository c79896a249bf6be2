/** What is noted in a VM's record beside the decisions: nothing hangs on it, so it may fail. */
import { MintError } from '../errors.ts';
import type { ConsoleFinding } from './evidence.ts';
import type { Ledger } from './ledger.ts';
import { knownPart, type Pin, type Place, type Sighting } from './pin.ts';
import { emptyRecord } from './record.ts';

/** A login this soon after the one on record is not written down: parallel logins come in dozens. */
const loginGrainMilliseconds = 10_000;
/** Likewise for the same key refused again. */
const refusalGrainMilliseconds = 10_000;

/** Notes that a login succeeded now. False when that could not be written, which is no reason to end it. */
export function noteLogin(ledger: Ledger, vm: string): boolean {
  return succeeds(() => {
    const last = ledger.record(vm).record?.pin?.lastLogin;
    if (isRecent(last, loginGrainMilliseconds)) return;
    ledger.locked(() => {
      const { record } = ledger.record(vm);
      if (record?.pin === undefined) return;
      const lastLogin = new Date().toISOString();
      ledger.writeRecord(vm, { ...record, pin: { ...record.pin, lastLogin } });
    });
  });
}

/** The key is blocked whether or not this can be written; whoever accepts it later need not show it again. */
export function noteRefusal(ledger: Ledger, { vm, key, ...place }: Sighting): void {
  succeeds(() => {
    const noted = ledger.record(vm).record?.refused;
    const again = noted?.key.blob.equals(key.blob) && noted.instance === place.instance;
    if (again && isRecent(noted?.seenAt, refusalGrainMilliseconds)) return;
    ledger.locked(() => {
      const { record = emptyRecord } = ledger.record(vm);
      const refused = { key, seenAt: new Date().toISOString(), ...place };
      ledger.writeRecord(vm, { ...record, refused });
    });
  });
}

/**
 * Adds to a pin what AWS said of it after it was made: the key is the console's, or the console shows
 * another. False when this key is no longer the pinned one, or it could not be written.
 */
export function noteConsole(
  ledger: Ledger,
  vm: string,
  fingerprint: string,
  finding: ConsoleFinding,
  place: Place,
): boolean {
  let isPinned = false;
  const written = succeeds(() => {
    ledger.locked(() => {
      const { record } = ledger.record(vm);
      if (record?.pin?.fingerprint !== fingerprint) return;
      const pin = { ...record.pin, ...knownPart(place), ...consolePart(record.pin, finding) };
      ledger.writeRecord(vm, { ...record, pin });
      isPinned = true;
    });
  });
  return written && isPinned;
}

/** For what may fail without harm. A file that others can write to is never harmless. */
export function succeeds(action: () => void): boolean {
  try {
    action();
    return true;
  } catch (error) {
    if (error instanceof MintError && error.code !== 'unsafe-permissions') return false;
    throw error;
  }
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
