/** What is trusted of a VM's host key, and whether Mint's file and our record agree about it. */
import type { Paths } from '../config/paths.ts';
import type { VmSettings } from '../config/settings.ts';
import { findPin } from '../trust/known-hosts.ts';
import { Ledger } from '../trust/ledger.ts';
import { type HostEntry, type Proof, TrustStore } from '../trust/store.ts';
import { type Finding, fail, failed, ok, warn } from './check.ts';

const proofs: Readonly<Record<Proof, string>> = {
  'stream-binding': 'at first use, proven by the agent',
  client: 'at first use, proven by ssh',
  console: 'checked against the console',
  accepted: 'accepted by you',
};

/** `loggedIn`: a login was made just now. */
export function checkPin(paths: Paths, vm: VmSettings, loggedIn = false): readonly Finding[] {
  try {
    const entry = new TrustStore(paths).show(vm.name);
    if (entry === undefined) return [ok('no key is pinned yet: the first login pins one')];
    return [...judgeEntry(entry), ...judgeRefusal(entry, loggedIn), ...disagreements(paths, vm, entry)];
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

function disagreements(paths: Paths, { instance }: VmSettings, { vm, pin }: HostEntry): readonly Finding[] {
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
        `the key was pinned on ${pin.instance}, and ssh.toml names ${instance}`,
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
