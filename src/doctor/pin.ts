/** Checks the pinned host keys of a VM, and whether Mint's file, our record and AWS agree. */
import { shownTime } from '../cli/time.ts';
import type { Paths } from '../platform/paths.ts';
import type { VmSettings } from '../settings/settings.ts';
import { closest } from '../trust/changed-key.ts';
import { typeOf } from '../trust/decide.ts';
import type { Evidence } from '../trust/pin.ts';
import { type HostEntry, TrustStore } from '../trust/store.ts';
import type { LocatedVm } from '../vms/located-vm.ts';
import { counted, type Finding, fail, failed, notChecked, ok, warn } from './check.ts';

const evidences: Readonly<Record<Evidence, string>> = {
  'first-use': 'pinned at first use',
  console: 'verified by the console',
  accepted: 'accepted by you',
  job: 'from the job that launched the VM',
  proved: 'proved by the pinned host',
};

export interface Known {
  /** Whether this run has just logged in. */
  readonly loggedIn?: boolean;
  /** The instance that AWS returned, if ssh.toml has none. */
  readonly instance?: string | undefined;
  /** Whether ssh.toml or AWS has the VM. */
  readonly isKnown?: boolean;
}

/** @returns findings about the VM's pinned host keys; a record that cannot be read is one of them */
export function checkPin(paths: Paths, vm: VmSettings, known: Known = {}): readonly Finding[] {
  try {
    const entry = new TrustStore(paths).show(vm.name);
    if (entry === undefined && known.isKnown === false) return [notChecked('unknown VM')];
    if (entry === undefined) return [ok('no key is pinned yet: the first login pins one')];
    const found = vm.instance === undefined ? known.instance : undefined;
    return [
      ...judgeEntry(entry),
      ...judgeRefusal(entry, known.loggedIn === true),
      ...disagreements(entry, vm.instance, found),
    ];
  } catch (error) {
    return [failed(error)];
  }
}

/** Checks the VMs that ssh.toml does not have; one finding for all if there is no problem. */
export function checkOtherPins(paths: Paths, others: ReadonlyMap<string, LocatedVm>): readonly Finding[] {
  try {
    const entries = new TrustStore(paths).list().filter(({ vm }) => others.has(vm));
    if (entries.length === 0) return [];
    const wrong = entries.flatMap((entry) =>
      [
        ...judgeEntry(entry),
        ...judgeRefusal(entry, false),
        ...disagreements(entry, undefined, others.get(entry.vm)?.instance),
      ]
        .filter(({ status }) => status !== 'ok')
        .map((finding) => ({ ...finding, message: `${entry.vm}: ${finding.message}` })),
    );
    return wrong.length > 0 ? wrong : [ok(`${counted(entries.length, 'VM')} that AWS shows: pinned`)];
  } catch (error) {
    return [failed(error)];
  }
}

function judgeEntry({ vm, pin, pins, problem }: HostEntry): readonly Finding[] {
  if (pin === undefined) {
    const accept = `mint-ssh hosts accept ${vm} FINGERPRINT`;
    return problem === undefined
      ? []
      : [fail(`${problem} (known-hosts-corrupt)`, `fix the line, or: ${accept}`)];
  }
  if (problem !== undefined) return [warn(problem, `mint-ssh hosts show ${vm}`)];
  const [first, ...others] = pins.map((one) => {
    const how = one.evidence === undefined ? 'written by Mint' : evidences[one.evidence];
    const since = one.pinnedAt === undefined ? '' : `, ${one.pinnedAt.slice(0, 10)}`;
    return `${one.fingerprint}, ${how}${since}`;
  });
  const more = others.length === 0 ? '' : ` (and ${counted(others.length, 'key')} of other types)`;
  return [ok(`${first}${more}`)];
}

function judgeRefusal({ vm, pin, refused }: HostEntry, loggedIn: boolean): readonly Finding[] {
  if (refused === undefined) return [];
  const { key, seenAt, reason } = refused;
  if (reason === 'type') {
    return [
      warn(
        `the VM showed a client its ${key.type} host key at ${shownTime(seenAt)}, which is not pinned (host-key-type)`,
        `run \`ssh ${vm} true\` once: in it, the VM proves its other keys`,
      ),
    ];
  }
  if (loggedIn || (pin?.lastLogin !== undefined && pin.lastLogin > seenAt)) {
    const message = `another key was blocked at ${shownTime(seenAt)}, and logins since then showed the pinned one`;
    return [warn(message, 'find out which machine had it: `mint-ssh hosts show` shows the key')];
  }
  return [
    fail(
      `another key was blocked at ${shownTime(seenAt)}: ${key.fingerprint} (${reason === 'unverified' ? 'host-key-unverified' : 'host-key-changed'})`,
      `if the VM was recreated: mint-ssh hosts accept ${vm} ${key.fingerprint}`,
    ),
  ];
}

/**
 * @param named the instance in ssh.toml
 * @param found the instance that AWS returned for the name
 */
function disagreements(
  { vm, pin, replaced, contradiction }: HostEntry,
  named: string | undefined,
  found: string | undefined,
): readonly Finding[] {
  const instance = named ?? found;
  const findings: Finding[] = [];
  const [old] = replaced;
  if (pin !== undefined && old !== undefined) {
    findings.push(
      warn(
        `known_hosts has ${pin.fingerprint}, our record has ${old.fingerprint}: known_hosts counts`,
        `if that is right: mint-ssh hosts accept ${vm} ${pin.fingerprint}`,
      ),
    );
  }
  if (pin?.instance !== undefined && instance !== undefined && pin.instance !== instance) {
    findings.push(
      warn(
        `the key was pinned on ${pin.instance}, and ${named === undefined ? 'AWS shows' : 'ssh.toml has'} ${instance}`,
        `if the VM was recreated: mint-ssh hosts forget ${vm}`,
      ),
    );
  }
  if (contradiction !== undefined) {
    const own = closest(contradiction.shown, typeOf(contradiction.pin))?.fingerprint ?? 'FINGERPRINT';
    findings.push(
      fail(
        `${contradiction.pin.fingerprint} was pinned at first use, and the console shows ${own} (host-key-unverified)`,
        `to trust the key that AWS shows: mint-ssh hosts accept ${vm} ${own}`,
      ),
    );
  }
  return findings;
}
