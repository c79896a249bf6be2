import { vmName } from '../settings/vm-name.ts';
import { recordedNames } from './derived-file.ts';
import { type Finding, findPin, findPins } from './known-hosts.ts';
import type { Ledger } from './ledger.ts';
import type { Pin, Refusal } from './pin.ts';

/** What is known of a VM, for people to read. */
export interface HostEntry {
  readonly vm: string;
  /** Undefined where nothing is pinned, or what is pinned cannot be read. */
  readonly pin: Pin | undefined;
  /** The key that was refused last, until it is accepted. */
  readonly refused: Refusal | undefined;
  /** Why no key of this VM is trusted at the moment, or what else is wrong with its files. */
  readonly problem: string | undefined;
}

/** Every VM with a line or a record of its own, by name. @throws MintError when Mint's file as a whole is refused */
export function listEntries(ledger: Ledger): HostEntry[] {
  const findings = findPins(ledger.text());
  const names = new Set([...findings.keys(), ...recordedNames(ledger.paths.hosts)].filter(isVmName));
  return [...names].sort().flatMap((vm) => entryOf(ledger, vm, findings.get(vm) ?? { kind: 'absent' }) ?? []);
}

/** Undefined when neither Mint's file nor a record knows the VM. @throws MintError likewise */
export function readEntry(ledger: Ledger, vm: string): HostEntry | undefined {
  return entryOf(ledger, vm, findPin(ledger.text(), vm));
}

function entryOf(ledger: Ledger, vm: string, finding: Finding): HostEntry | undefined {
  const { record, damage } = ledger.record(vm);
  const refused = record?.refused;
  if (finding.kind === 'bad') {
    return { vm, pin: undefined, refused, problem: `known_hosts line ${finding.line}: ${finding.reason}` };
  }
  if (finding.kind === 'pin') {
    const known = record?.pin?.fingerprint === finding.fingerprint ? record.pin : undefined;
    return { vm, pin: known ?? { fingerprint: finding.fingerprint }, refused, problem: damage?.message };
  }
  if (damage !== undefined) return { vm, pin: undefined, refused, problem: damage.message };
  if (record === undefined) return undefined;
  const problem =
    record.pin && 'the line in known_hosts is gone: restored at the next connection to this instance';
  return { vm, pin: record.pin, refused, problem };
}

function isVmName(name: string): boolean {
  try {
    return vmName(name) === name;
  } catch {
    return false;
  }
}
