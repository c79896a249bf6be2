/**
 * `keys rotate`: a new key on every instance, proven by a login, then the old one removed from each.
 *
 * At every moment the key that the agent serves for an instance is one that it lets in: until the switch that is the
 * old one, which nobody has removed yet; from then on the new one, but for the instances that were down. Whatever is
 * left is in metadata.json, and the next run goes on there.
 */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { hint, printable, say } from '../cli/terminal.ts';
import { MintError } from '../errors.ts';
import { bringKey, isFailed, type KeptKey, type Outcome, takeKey } from '../keys/key-change.ts';
import { materialOf } from '../keys/store/key-material.ts';
import { findKey } from '../keys/store/key-store.ts';
import { generateKey, keyTypes, publicBlob } from '../keys/store/key-type.ts';
import type { KeyRecord } from '../keys/store/metadata.ts';
import { beginRotation, endRotation, noteInstance, noteRegion, switchKeys } from '../keys/store/rotation.ts';
import { type Rotation, those } from '../keys/store/rotation-state.ts';
import { acquireLock } from '../platform/lock.ts';
import { checkForEc2, ec2Names, launchedWith, withEc2 } from './keys-ec2.ts';
import { instancesOf, type OpenedKey, onEach, openKept, openOther } from './keys-logins.ts';
import { detailsOf, type KeysRequest, misused } from './keys-request.ts';

/**
 * Milliseconds between the switch and the first removal: a login that has begun with the old key is still let in,
 * and every later one is given the new key.
 */
const grace = 2_000;

/** Both keys of a rotation, whichever of them is in use. */
interface Pair {
  readonly old: KeptKey;
  readonly next: KeptKey;
}

/** Why an instance could not be done, by its name. */
type Failures = Map<string, string>;

/** Exit status 1 where something is left to the next run. */
export async function rotateKey(request: KeysRequest): Promise<number> {
  const { directory, profile } = request;
  const { name } = findKey(directory, profile);
  const lock = acquireLock(join(directory, '.rotation.lock'), { waitMilliseconds: 0 });
  if (lock === undefined) {
    throw new MintError('io-failed', 'another command is rotating a key', {
      hint: 'wait for it to end, then run again',
    });
  }
  try {
    return await rotate(request, name);
  } finally {
    lock.release();
  }
}

async function rotate(request: KeysRequest, name: string): Promise<number> {
  const { directory } = request;
  const found = findKey(directory, name);
  const current = await openKept(directory, name);
  if (found.rotation === undefined) await begin(request, found, current);
  else say(`going on with the rotation of ${name} that began at ${found.rotation.startedAt}`);

  const isSwitched = found.rotation?.stage === 'removing';
  const other = await openOther(directory, name, isSwitched ? 'old' : 'next', current.passphrase);
  const pair = isSwitched ? { old: other, next: current } : { old: current, next: other };
  const failures: Failures = new Map();
  const isNew = isSwitched ? 0 : await bringToAll(request, name, pair, failures);
  if (isNew !== undefined) {
    await takeFromAll(request, name, pair, failures, isNew > 0);
    await replaceInEc2(request, name, pair).catch((error: unknown) => {
      say(
        `note: EC2 does not have the new key of ${name}: \`mint-ssh keys rotate ${name} --aws\` goes on there`,
      );
      throw error;
    });
  }
  return report(request, name, failures);
}

/** Everything that can refuse the rotation refuses it here, before there is one. */
async function begin(request: KeysRequest, record: KeyRecord, current: OpenedKey): Promise<void> {
  const { directory, values } = request;
  const { name } = record;
  const type = (values['type'] as string | undefined) ?? typeLike(record.type);
  const names = values['aws'] === true ? ec2Names(record) : [];
  if (values['aws'] === true && names.length === 0) throw misused(`the key of ${name} has no name in EC2`);
  const key = await generateKey(type);
  const material = await materialOf(key, name, current.passphrase);
  if (names.length > 0) {
    checkForEc2(publicBlob(key));
    await withEc2(request, async (ec2) => {
      for (const at of names) await ec2.check(at, [current.blob]);
    });
  }
  const regions = names.map(({ region }) => region);
  beginRotation(directory, name, material, regions);
}

/** What a person has chosen stays, as far as such a key is made here. */
function typeLike(type: string): string {
  if (keyTypes.some((known) => known === type)) return type;
  if (type.startsWith('rsa-')) return 'rsa-4096';
  return type.startsWith('ecdsa-') ? 'ecdsa-p256' : 'ed25519';
}

/** How many have the new key; undefined where none could be given it, and nothing is switched then. */
async function bringToAll(
  request: KeysRequest,
  name: string,
  pair: Pair,
  failures: Failures,
): Promise<number | undefined> {
  const { directory, values } = request;
  const record = findKey(directory, name);
  const known = instancesOf(request, record);
  const more = values['aws'] === true ? await launchedWith(request, ec2Names(record)) : [];
  const vms = [...new Set([...known, ...more])];
  const outcomes = await onEach(request, vms, (sessions, vm) => bringKey(sessions, vm, pair));
  const proven = vms.filter((vm) => note(failures, vm, outcomes.get(vm)));
  if (vms.length > 0 && proven.length === 0) return undefined;
  switchKeys(directory, name, { proven, others: vms });
  return proven.length;
}

/** @param wasSwitched logins with the old key may be under way */
async function takeFromAll(
  request: KeysRequest,
  name: string,
  pair: Pair,
  failures: Failures,
  wasSwitched: boolean,
): Promise<void> {
  const { directory } = request;
  const late = those(rotationOf(request, name), 'old').filter((vm) => !failures.has(vm));
  const brought = await onEach(request, late, async (sessions, vm) => {
    const outcome = await bringKey(sessions, vm, pair);
    if (!isFailed(outcome)) noteInstance(directory, name, vm, 'both');
    return outcome;
  });
  const isNew = late.filter((vm) => note(failures, vm, brought.get(vm))).length > 0;
  if (wasSwitched || isNew) await sleep(grace);
  const ready = those(rotationOf(request, name), 'both');
  const taken = await onEach(request, ready, async (sessions, vm) => {
    const outcome = await takeKey(sessions, vm, pair);
    if (!isFailed(outcome)) noteInstance(directory, name, vm, 'done');
    return outcome;
  });
  for (const vm of ready) {
    if (!note(failures, vm, taken.get(vm)) || taken.get(vm) !== 'absent') continue;
    say(`note: authorized_keys on ${vm} did not have the old key`);
  }
}

/**
 * EC2 cannot change a key pair. It is deleted and imported anew under its name, so that the KeyName of an instance
 * goes on leading to its key; between the two a launch with it fails, and none gets the old key.
 */
async function replaceInEc2(request: KeysRequest, name: string, pair: Pair): Promise<void> {
  const { directory, values } = request;
  const record = findKey(directory, name);
  const regions = rotationOf(request, name)?.regions ?? [];
  const all = ec2Names(record).filter(({ region }) => values['aws'] === true || regions.includes(region));
  if (all.length === 0) return;
  await withEc2(request, async (ec2) => {
    for (const at of all) {
      const there = await ec2.check(at, [pair.next.blob, pair.old.blob]);
      if (there?.equals(pair.old.blob)) await ec2.remove(at, [pair.old.blob]);
      await ec2.put(at, pair.next.line);
      noteRegion(directory, name, at.region);
      say(`EC2 has the new key as ${at.name} in ${at.region}`);
    }
  });
}

function report(request: KeysRequest, name: string, failures: Failures): number {
  const { directory } = request;
  const left = rotationOf(request, name);
  const isDone = left?.stage === 'removing' && endRotation(directory, name);
  const { fingerprint } = detailsOf(directory, { name });
  if (isDone) {
    say(`${name} is ${fingerprint} now, and its old key is gone`);
    return 0;
  }
  for (const [vm, reason] of failures) say(`not done: ${printable(vm)}: ${printable(reason)}`);
  const isSwitched = left?.stage === 'removing';
  say(
    isSwitched
      ? `${name} is ${fingerprint} now; what is not done keeps its old key until the next run`
      : `no instance could be given a new key: ${name} is ${fingerprint} as before`,
  );
  hint(
    `\`mint-ssh keys rotate ${name}\` goes on when they are up; \`mint-ssh keys detach ${name} VM --force\` forgets one`,
  );
  return 1;
}

function rotationOf({ directory }: KeysRequest, name: string): Rotation | undefined {
  return findKey(directory, name).rotation;
}

/** Whether it went well; what did not is kept, for the report. */
function note(failures: Failures, vm: string, outcome: Outcome | undefined): boolean {
  if (outcome !== undefined && !isFailed(outcome)) return true;
  failures.set(vm, outcome?.failed ?? 'it was not tried');
  return false;
}
