/** What is trusted of a VM's host key, and whether Mint's file and our record agree about it. */
import type { Paths } from '../platform/paths.ts';
import type { VmSettings } from '../settings/settings.ts';
import { findPin } from '../trust/known-hosts.ts';
import { Ledger } from '../trust/ledger.ts';
import { type HostEntry, type Proof, TrustStore } from '../trust/store.ts';
import type { LocatedVm } from '../vms/located-vm.ts';
import { counted, type Finding, fail, failed, notChecked, ok, warn } from './check.ts';

const proofs: Readonly<Record<Proof, string>> = {
  'stream-binding': 'at first use, proven by the agent',
  client: 'at first use, proven by ssh',
  console: 'checked against the console',
  accepted: 'accepted by you',
};

export interface Known {
  /** A login was made just now. */
  readonly loggedIn?: boolean;
  /** The instance as AWS has it, where ssh.toml names none. */
  readonly instance?: string | undefined;
  /** Whether there is such a VM, as far as ssh.toml and AWS tell. */
  readonly isKnown?: boolean;
}

export function checkPin(paths: Paths, vm: VmSettings, known: Known = {}): readonly Finding[] {
  try {
    const entry = new TrustStore(paths).show(vm.name);
    if (entry === undefined && known.isKnown === false) return [notChecked('no such VM is known')];
    if (entry === undefined) return [ok('no key is pinned yet: the first login pins one')];
    const found = vm.instance === undefined ? known.instance : undefined;
    return [
      ...judgeEntry(entry),
      ...judgeRefusal(entry, known.loggedIn === true),
      ...disagreements(paths, entry, vm.instance, found),
    ];
  } catch (error) {
    return [failed(error)];
  }
}

/** The VMs that ssh.toml does not name, in one line where all is well with them. */
export function checkOtherPins(paths: Paths, others: ReadonlyMap<string, LocatedVm>): readonly Finding[] {
  try {
    const entries = new TrustStore(paths).list().filter(({ vm }) => others.has(vm));
    if (entries.length === 0) return [];
    const wrong = entries.flatMap((entry) =>
      [
        ...judgeEntry(entry),
        ...judgeRefusal(entry, false),
        ...disagreements(paths, entry, undefined, others.get(entry.vm)?.instance),
      ]
        .filter(({ status }) => status !== 'ok')
        .map((finding) => ({ ...finding, message: `${entry.vm}: ${finding.message}` })),
    );
    return wrong.length > 0 ? wrong : [ok(`${counted(entries.length, 'VM')} that AWS shows: pinned`)];
  } catch (error) {
    return [failed(error)];
  }
}

function judgeEntry({ vm, pin, problem }: HostEntry): readonly Finding[] {
  if (pin === undefined) {
    const accept = `mint-ssh hosts accept ${vm} FINGERPRINT`;
    return problem === undefined
      ? []
      : [fail(`${problem} (known-hosts-corrupt)`, `mend the line, or: ${accept}`)];
  }
  if (problem !== undefined) return [warn(problem, `mint-ssh hosts show ${vm}`)];
  const how = pin.proof === undefined ? 'written by Mint' : proofs[pin.proof];
  const since = pin.pinnedAt === undefined ? '' : `, ${pin.pinnedAt.slice(0, 10)}`;
  return [ok(`${pin.fingerprint}, ${how}${since}`)];
}

function judgeRefusal({ vm, pin, refused }: HostEntry, loggedIn: boolean): readonly Finding[] {
  if (refused === undefined) return [];
  const { key, seenAt } = refused;
  if (loggedIn || (pin?.lastLogin !== undefined && pin.lastLogin > seenAt)) {
    const message = `another key was blocked at ${seenAt}, and logins since then showed the pinned one`;
    return [warn(message, 'find out which machine that was: its key stands in `mint-ssh hosts show`')];
  }
  return [
    fail(
      `another key was blocked at ${seenAt}: ${key.fingerprint} (host-key-changed)`,
      `if the VM was made anew: mint-ssh hosts accept ${vm} ${key.fingerprint}`,
    ),
  ];
}

/** @param named in ssh.toml @param found by name, in AWS */
function disagreements(
  paths: Paths,
  { vm, pin }: HostEntry,
  named: string | undefined,
  found: string | undefined,
): readonly Finding[] {
  const instance = named ?? found;
  const ledger = new Ledger(paths);
  const findings: Finding[] = [];
  const line = findPin(ledger.text(), vm);
  const recorded = ledger.record(vm).record?.pin;
  if (line.kind === 'pin' && recorded !== undefined && recorded.fingerprint !== line.fingerprint) {
    findings.push(
      warn(
        `known_hosts has ${line.fingerprint}, our record ${recorded.fingerprint}: the former counts`,
        `if that is right: mint-ssh hosts accept ${vm} ${line.fingerprint}`,
      ),
    );
  }
  if (pin?.instance !== undefined && instance !== undefined && pin.instance !== instance) {
    findings.push(
      warn(
        `the key was pinned on ${pin.instance}, and ${named === undefined ? 'AWS shows' : 'ssh.toml names'} ${instance}`,
        `if the VM was made anew: mint-ssh hosts forget ${vm}`,
      ),
    );
  }
  if (pin?.consoleShows !== undefined) {
    findings.push(
      fail(`the console of the instance shows another key: ${pin.consoleShows}`, `mint-ssh hosts show ${vm}`),
    );
  }
  return findings;
}
