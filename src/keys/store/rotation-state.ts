/** How far a rotation has come, as it stands in a key's entry of metadata.json. */

/**
 * `adding`: the new key, in `<name>.next`, is being brought to the instances; the key in use is still the old one,
 * which all of them let in. `removing`: the new one is the key in use; the old one, in `<name>.old`, is taken away.
 */
type Stage = 'adding' | 'removing';

/** What an instance lets in while the old key is being removed: either key, or still the old one alone. */
export type LetsIn = 'both' | 'old';

export interface Rotation {
  readonly stage: Stage;
  /** ISO 8601. */
  readonly startedAt: string;
  /** Those that are not done; none while keys are being added. */
  readonly instances: Readonly<Record<string, LetsIn>>;
  /** The regions where EC2 has still to be given the new public key. */
  readonly regions: readonly string[];
}

/** Undefined where there is none. */
export function parseRotation(value: unknown): Rotation | undefined | 'broken' {
  if (value === undefined || value === null) return undefined;
  if (!isRecord(value)) return 'broken';
  const { stage, started_at: startedAt = '', instances = {}, aws_regions: regions = [] } = value;
  if ((stage !== 'adding' && stage !== 'removing') || typeof startedAt !== 'string') return 'broken';
  if (!isRecord(instances) || !Object.values(instances).every(isLetsIn)) return 'broken';
  if (!Array.isArray(regions) || !regions.every((one) => typeof one === 'string')) return 'broken';
  return { stage, startedAt, instances: instances as Rotation['instances'], regions };
}

/** The instances that let in just this, in a rotation that may be none. */
export function those(rotation: Rotation | undefined, letsIn: LetsIn): string[] {
  const all = Object.entries(rotation?.instances ?? {});
  return all.filter(([, each]) => each === letsIn).map(([vm]) => vm);
}

export function rotationEntry({ stage, startedAt, instances, regions }: Rotation): Record<string, unknown> {
  return { stage, started_at: startedAt, instances, aws_regions: regions };
}

function isLetsIn(value: unknown): boolean {
  return value === 'both' || value === 'old';
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
