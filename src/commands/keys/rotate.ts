/**
 * `keys rotate`: a new key on every machine, proved by a login; then the old one is removed from each, proved by a
 * login that is refused. Until nothing may need the old key any more, it is kept (`needsOldKey`), and the agent serves
 * it to the machines that accept it alone.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { hint, printable, say } from '../../cli/terminal.ts';
import { MintError } from '../../errors.ts';
import { installKey, isFailed, type KeptKey, type Outcome, removeOldKey } from '../../keys/key-change.ts';
import { materialOf } from '../../keys/store/key-material.ts';
import { findKey, type KeyRecord } from '../../keys/store/key-store.ts';
import { generateKey, keyTypes, publicBlob } from '../../keys/store/key-type.ts';
import {
  beginRotation,
  endRotation,
  machineOf,
  needsOldKey,
  noteMachine,
  noteRegions,
  switchKeys,
} from '../../keys/store/rotation.ts';
import { parseHostKey } from '../../ssh/hostkey.ts';
import { checkForEc2, withEc2 } from './ec2.ts';
import { type OpenedKey, onEach, openKept, openOther, type Target } from './logins.ts';
import { type FoundMachines, findMachines, plainName } from './machines.ts';
import { detailsOf, type KeysRequest, misused, noteKey, withTurn } from './request.ts';

/**
 * Between the switch and the first removal, so that a login which was offered the old key alone ends: one that was authorized
 * before the rotation began. Every later one is offered both keys.
 */
const graceMs = 2_000;

interface Rotation {
  readonly request: KeysRequest;
  readonly name: string;
  readonly targets: readonly Target[];
  readonly pair: { readonly old: KeptKey; readonly next: KeptKey };
  /** Why a machine could not be changed. */
  readonly failures: Map<Target, string>;
}

/** @returns 1 if something is left to do, else 0 */
export async function rotateKey(request: KeysRequest): Promise<number> {
  const { directory, profile } = request;
  const { name } = findKey(directory, profile);
  return withTurn(directory, () => (request.vm === '' ? rotate(request, name) : finishOn(request, name)));
}

async function rotate(request: KeysRequest, name: string): Promise<number> {
  const { directory, values } = request;
  const isForced = values['force'] === true;
  const current = await openKept(directory, name);
  const before = findKey(directory, name);
  const isNew = before.rotation === undefined && !before.hasNext;
  if (!isNew) say(`continuing the rotation of ${name}`);
  const ec2 = await ec2Left(request, before, current);
  if (isNew) await begin(request, before, current);
  const found = await findMachines(request, findKey(directory, name));

  const isSwitched = before.rotation !== undefined;
  const other = await openOther(directory, name, isSwitched ? 'old' : 'next', current.passphrase);
  const pair = isSwitched ? { old: other, next: current } : { old: current, next: other };
  const rotation = { request, name, targets: found.targets, pair, failures: new Map<Target, string>() };
  const unasked = [...new Set([...ec2.unasked, ...found.unasked.keys()])];
  if (isSwitched) {
    noteRegions(directory, name, { regions: ec2.regions, unasked });
  } else if (!(await switchToNew(rotation, { regions: ec2.regions, unasked }))) {
    return reportUnchanged(rotation);
  }
  await removeFromAll(rotation, !isSwitched);
  if (!(await replaceInEc2(rotation, unasked))) return report(rotation, found, isForced);
  // Until EC2 had the new key, an instance could be launched with the old one.
  const now = await findMachines(request, findKey(directory, name));
  const stillUnasked = [...new Set([...ec2.unasked, ...now.unasked.keys()])];
  const regions = findKey(directory, name).rotation?.regions ?? [];
  noteRegions(directory, name, { regions, unasked: stillUnasked });
  return report(rotation, now, isForced);
}

/** Finishes an open rotation on one machine; the agent starts this after a login there. */
async function finishOn(request: KeysRequest, name: string): Promise<number> {
  const { directory } = request;
  const vm = plainName(request.vm);
  const record = findKey(directory, name);
  if (record.rotation === undefined) {
    say(`no rotation of ${name} is open`);
    return 0;
  }
  const machine = record.machines.find(
    (one) => one.accepts !== undefined && (one.instance === vm || plainName(one.name) === vm),
  );
  if (machine === undefined) {
    say(`the rotation of ${name} has nothing to do on ${printable(vm)}`);
    return 0;
  }
  const { instance, region, user } = machine;
  const target = { instance, name: machine.name, user, region, vm, notTried: undefined };
  const current = await openKept(directory, name);
  const old = await openOther(directory, name, 'old', current.passphrase);
  const failures = new Map<Target, string>();
  const rotation = { request, name, targets: [target], pair: { old, next: current }, failures };
  await removeFromAll(rotation, false);
  return report(rotation, { targets: [target], unasked: new Map() }, false);
}

async function begin(request: KeysRequest, record: KeyRecord, current: OpenedKey): Promise<void> {
  const { directory, values } = request;
  const type = (values['type'] as string | undefined) ?? typeLike(record.type);
  const key = await generateKey(type);
  if (values['aws'] === true) checkForEc2(publicBlob(key));
  beginRotation(directory, record.name, await materialOf(key, record.name, current.passphrase));
}

/** Keeps the type that the user has chosen, if mint-ssh makes that type. */
function typeLike(type: string): string {
  if (keyTypes.some((known) => known === type)) return type;
  if (type.startsWith('rsa-')) return 'rsa-4096';
  return type.startsWith('ecdsa-') ? 'ecdsa-p256' : 'ed25519';
}

/**
 * Finds the regions where EC2 has the old public key, or gets the new one (`--aws`). While EC2 has the old one, new
 * instances may be launched with it.
 *
 * @throws MintError `key-exists`, with nothing changed, if a name of the key has other content in EC2
 */
async function ec2Left(
  request: KeysRequest,
  record: KeyRecord,
  current: OpenedKey,
): Promise<{ readonly regions: string[]; readonly unasked: string[] }> {
  const { directory, values } = request;
  const { name, ec2Names, rotation } = record;
  const wantsAll = values['aws'] === true;
  if (wantsAll && ec2Names.length === 0) throw misused(`the key of ${name} has no name in EC2`);
  const regions = new Set<string>(rotation?.regions);
  const unasked: string[] = [];
  if (ec2Names.length === 0) return { regions: [], unasked };
  const old = rotation === undefined ? current : await openOther(directory, name, 'old', current.passphrase);
  const ours = rotation === undefined ? [current.blob] : [current.blob, old.blob];
  await withEc2(request, async (ec2) => {
    for (const at of ec2Names) {
      try {
        const there = await ec2.check(at, ours);
        if (wantsAll || there?.equals(old.blob)) regions.add(at.region);
      } catch (error) {
        if (!(error instanceof MintError)) throw error;
        if (error.code === 'key-exists' || wantsAll) throw error;
        unasked.push(at.region);
      }
    }
  });
  return { regions: [...regions], unasked };
}

/** @returns false if no known machine could get the new key: then nothing is switched */
async function switchToNew(
  rotation: Rotation,
  left: { readonly regions: readonly string[]; readonly unasked: readonly string[] },
): Promise<boolean> {
  const { request, name, targets, pair } = rotation;
  const outcomes = await onEach(request, targets, (sessions, { name: vm }) => installKey(sessions, vm, pair));
  const proven = targets.filter((target) => noted(rotation, target, outcomes.get(target)));
  if (targets.length > 0 && proven.length === 0) return false;
  switchKeys(request.directory, name, { proven, left, fingerprint: fingerprintOf(pair.next) });
  return true;
}

/** @param wasSwitched logins with the old key may be under way */
async function removeFromAll(rotation: Rotation, wasSwitched: boolean): Promise<void> {
  const { request, name, targets, pair, failures } = rotation;
  const { directory } = request;
  const fingerprint = fingerprintOf(pair.next);
  const accepting = (accepts: 'old' | 'both') => {
    const { machines } = findKey(directory, name);
    return targets.filter((target) => machineOf(machines, target)?.accepts === accepts);
  };
  const late = accepting('old').filter((target) => !failures.has(target));
  const installed = await onEach(request, late, async (sessions, target) => {
    const outcome = await installKey(sessions, target.name, pair);
    if (!isFailed(outcome)) noteMachine(directory, name, target, 'both', fingerprint);
    return outcome;
  });
  for (const target of late) noted(rotation, target, installed.get(target));
  const ready = accepting('both');
  if (wasSwitched || late.length > 0) await sleep(graceMs);
  const removed = await onEach(request, ready, async (sessions, target) => {
    const outcome = await removeOldKey(sessions, target.name, pair);
    if (!isFailed(outcome)) noteMachine(directory, name, target, 'done', fingerprint);
    return outcome;
  });
  for (const target of ready) noted(rotation, target, removed.get(target));
}

/**
 * EC2 cannot change a key pair. It is deleted and imported again under its name, so that the KeyName of an instance
 * still refers to its key. In between, a launch with that name fails.
 *
 * @returns whether a key pair was replaced
 */
async function replaceInEc2({ request, name, pair }: Rotation, unasked: readonly string[]): Promise<boolean> {
  const { directory } = request;
  const { ec2Names, rotation } = findKey(directory, name);
  const regions = new Set(rotation?.regions);
  if (regions.size === 0) return false;
  let isReplaced = false;
  const isLeft = new Set(ec2Names.filter(({ region }) => regions.has(region)));
  await withEc2(request, async (ec2) => {
    for (const at of [...isLeft]) {
      try {
        const there = await ec2.check(at, [pair.next.blob, pair.old.blob]);
        if (there?.equals(pair.old.blob)) await ec2.remove(at, [pair.old.blob]);
        await ec2.put(at, pair.next.line);
      } catch (error) {
        if (!(error instanceof MintError)) throw error;
        say(`note: EC2 in ${at.region} was not given the new key: ${error.message} (${error.code})`);
        continue;
      }
      isReplaced = true;
      isLeft.delete(at);
      // The key may have several names in a region.
      if (![...isLeft].some(({ region }) => region === at.region)) regions.delete(at.region);
      noteRegions(directory, name, { regions: [...regions], unasked });
      say(`EC2 has the new key as ${at.name} in ${at.region}`);
    }
  });
  return isReplaced;
}

function report(rotation: Rotation, { unasked }: FoundMachines, isForced: boolean): number {
  const { request, name, pair, failures } = rotation;
  const { directory } = request;
  const before = findKey(directory, name);
  const given = isForced ? needsOldKey(before) : [];
  for (const reason of given) say(`--force: ${printable(reason)}; the old key is removed all the same`);
  const reasons = endRotation(directory, name, isForced);
  const { fingerprint } = detailsOf(directory, { name });
  noteKey(request, { event: 'key-rotated', key: name, keyFingerprint: fingerprint });
  const refusing = before.machines.filter(({ accepts }) => accepts === undefined).map((one) => one.name);
  const proof =
    refusing.length === 0
      ? 'no login has proved it'
      : `each of these accepts it and refuses ${fingerprintOf(pair.old)}: ${printable(refusing.join(', '))}`;
  say(`${name} is ${fingerprint} now; ${proof}`);
  if (reasons.length === 0) {
    say(`${fingerprintOf(pair.old)} is removed from the store`);
    return 0;
  }
  for (const [target, reason] of failures) say(`not done: ${printable(target.name)}: ${printable(reason)}`);
  for (const [region, reason] of unasked) say(`not asked: EC2 in ${region}: ${printable(reason)}`);
  for (const reason of reasons) say(`the old key is kept: ${printable(reason)}`);
  hint(
    `\`mint-ssh keys rotate ${name}\` continues, and so does a login to an instance that was not reached; with --force the old key is removed all the same, and what accepts it alone is locked out`,
  );
  return 1;
}

function reportUnchanged({ request, name, failures }: Rotation): number {
  const { fingerprint } = detailsOf(request.directory, { name });
  for (const [target, reason] of failures) say(`not done: ${printable(target.name)}: ${printable(reason)}`);
  say(`no instance could be given a new key: ${name} is ${fingerprint} as before`);
  hint(
    `\`mint-ssh keys rotate ${name}\` continues when they can be reached; \`mint-ssh keys detach ${name} VM --force\` forgets one`,
  );
  return 1;
}

/** @returns whether it succeeded; a failure is kept for the report */
function noted({ failures }: Rotation, target: Target, outcome: Outcome | undefined): boolean {
  if (outcome !== undefined && !isFailed(outcome)) return true;
  failures.set(target, outcome?.failed ?? 'it was not tried');
  return false;
}

function fingerprintOf({ blob }: KeptKey): string {
  return parseHostKey(blob).fingerprint;
}
