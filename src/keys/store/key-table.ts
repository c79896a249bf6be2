/** The output of `keys list` and `keys show`, as text and as JSON. */
import { columns, outputWidth } from '../../cli/columns.ts';
import { printable } from '../../cli/terminal.ts';
import { isoTime, shownTime } from '../../cli/time.ts';
import type { KeyRecord } from './key-store.ts';
import { shownName, type UnusableEntry } from './metadata.ts';
import type { Machine } from './own-state.ts';

const head = ['PROFILE', 'REGION', 'INSTANCES', 'CREATED', 'TYPE'];

/** The table for the terminal. Text from metadata.json is escaped. */
export function managedKeyTable(keys: readonly KeyRecord[], unusable: readonly UnusableEntry[]): string {
  const others = unusable.map(({ name }) => [shownName(name), '-', '-', '-', 'not served']);
  return columns(head, [...keys.map(cellsOf), ...others], { maxWidth: outputWidth(), optional: [2] });
}

function cellsOf({ name, region, machines, createdAt, type }: KeyRecord): string[] {
  return [
    name,
    region ?? '-',
    String(machines.length),
    printable(createdAt.slice(0, 10)) || '-',
    type || '-',
  ];
}

/** Details of a key beside its record. */
export interface KeyDetails {
  readonly path: string;
  readonly fingerprint: string;
  /** The line in its `.pub` file. */
  readonly publicKey: string;
}

/** An instance that accepts a key. */
export interface InstanceUse
  extends Pick<Machine, 'name' | 'instance' | 'user' | 'region' | 'lastUsed' | 'proved'> {
  /** As EC2 last returned it; undefined if unknown. */
  readonly state: string | undefined;
  /** The age of that answer, such as `3 min`. */
  readonly stateAge: string | undefined;
  /** The remaining step of a rotation on the instance. */
  readonly waits: 'new key' | 'end of the old key' | undefined;
}

/** The text about one key, for the terminal. */
export function managedKeyText(
  key: KeyRecord,
  { path, fingerprint, publicKey }: KeyDetails,
  uses: readonly InstanceUse[],
): string {
  const inEc2 = key.ec2Names.map(({ region, name }) => `${name} (${region})`);
  const state =
    key.rotation === undefined
      ? key.hasNext
        ? 'begun, no new key in use yet'
        : undefined
      : `not finished, since ${shownTime(key.rotation.startedAt)}`;
  const lines = [
    ['profile', key.name],
    ['AWS KeyName', inEc2.join(', ')],
    ['region', key.region],
    ['type', key.type],
    ['created', shownTime(key.createdAt)],
    ['path', path],
    ['fingerprint', fingerprint],
    ['public key', publicKey],
    ...(state === undefined ? [] : [['rotation', state]]),
    ...(uses.length === 0 ? [['instances', '-']] : uses.map((use) => ['instance', useText(use)])),
  ];
  return lines.map(([name, value]) => `${`${name}:`.padEnd(13)}${printable(value || '-')}`).join('\n');
}

function useText({ name, instance, state, stateAge, lastUsed, waits }: InstanceUse): string {
  const shown =
    state === undefined ? 'state not known' : `${state}${stateAge === undefined ? '' : ` ${stateAge} ago`}`;
  const used = lastUsed === undefined ? 'no login seen' : `last login ${shownTime(lastUsed)}`;
  const id = instance === undefined || instance === name ? [] : [instance];
  const left = waits === undefined ? [] : [`waits for the ${waits}`];
  return `${name} (${[...id, shown, used, ...left].join(', ')})`;
}

/**
 * The object that `--json` prints for one key.
 *
 * @param details undefined where its files cannot be read
 * @param problem why it cannot be used
 */
export function keyJson(
  key: KeyRecord,
  vms: readonly InstanceUse[],
  details: KeyDetails | undefined,
  problem?: string,
): Record<string, unknown> {
  const { rotation } = key;
  return {
    profile: key.name,
    type: key.type,
    fingerprint: details?.fingerprint ?? null,
    public_key: details?.publicKey ?? null,
    path: details?.path ?? null,
    region: key.region ?? null,
    created_at: isoTime(key.createdAt),
    ec2_key_pairs: key.ec2Names.map(({ name, region }) => ({ name, region })),
    rotation:
      rotation === undefined
        ? null
        : {
            started_at: isoTime(rotation.startedAt),
            regions: rotation.regions,
            unasked_regions: rotation.unasked,
            unproved: rotation.isUnproved,
          },
    vms: vms.map(({ name, instance, user, region, lastUsed, proved, waits }) => ({
      vm: name,
      instance: instance ?? null,
      user: user ?? null,
      region: region ?? null,
      last_login_at: isoTime(lastUsed),
      proved_fingerprint: proved ?? null,
      waits_for: waits === undefined ? null : waits === 'new key' ? 'new-key' : 'end-of-old-key',
    })),
    problem: problem ?? null,
  };
}

/** The same object for an entry of metadata.json that mint-ssh does not use. */
export function unusableJson({ name, why }: UnusableEntry): Record<string, unknown> {
  const unknown = {
    type: null,
    fingerprint: null,
    public_key: null,
    path: null,
    region: null,
    created_at: null,
  };
  return { profile: name, ...unknown, ec2_key_pairs: [], rotation: null, vms: [], problem: why };
}
