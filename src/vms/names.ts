/** Resolves names to instances, from the cache or from EC2. */

import { createHash } from 'node:crypto';
import type { Aws } from '../aws/aws.ts';
import { MintError } from '../errors.ts';
import type { Caller } from '../platform/caller.ts';
import type { Paths } from '../platform/paths.ts';
import type { VmSettings } from '../settings/settings.ts';
import { instancePattern } from '../settings/vm-name.ts';
import { choose, pinnedInstance } from './choose.ts';
import { type LocatedVm, located } from './located-vm.ts';
import { VmCache } from './vm-cache.ts';

/** How long an answer is used without asking again, in milliseconds. */
export const freshTime = 60_000;

export type Ec2 = Pick<Aws, 'describeVms' | 'identity' | 'images'>;

export interface Wanted {
  readonly caller: Caller;
  readonly settings: VmSettings;
  /** Whether the user allowed the name to match a `Name` tag. */
  readonly byNameTag: boolean;
}

export interface Cached {
  readonly vm: LocatedVm;
  /** False if EC2 should be asked again before the address is relied on. */
  readonly fresh: boolean;
}

export class Names {
  readonly cache: VmCache;
  readonly #paths: Paths;
  readonly #aws: Ec2;
  readonly #asking = new Map<string, Promise<LocatedVm>>();
  /** When EC2 last failed to answer each question. The next callers fail at once for a while. */
  readonly #failedAt = new Map<string, number>();

  constructor(paths: Paths, aws: Ec2) {
    this.#paths = paths;
    this.cache = new VmCache(paths);
    this.#aws = aws;
  }

  /** @returns the last answer of EC2; undefined if there is none, or it does not fit the request */
  cached(wanted: Wanted): Cached | undefined {
    const { settings } = wanted;
    const vm = this.cache.scope(scopeOf(wanted)).vms.get(settings.name);
    if (vm === undefined) return undefined;
    if (settings.instance !== undefined && vm.instance !== settings.instance) return undefined;
    if (settings.instance === undefined && vm.found === 'name-tag' && !wanted.byNameTag) return undefined;
    const age = Date.now() - Math.max(vm.seenAt, this.#failedAt.get(question(wanted)) ?? 0);
    return { vm, fresh: age >= 0 && age < freshTime };
  }

  /**
   * Asks EC2. Simultaneous calls for the same VM share one request.
   *
   * @throws MintError `vm-not-found`, `vm-ambiguous`, `aws-…`
   */
  look(wanted: Wanted): Promise<LocatedVm> {
    const key = question(wanted);
    const asking = this.#asking.get(key) ?? this.#look(wanted).finally(() => this.#asking.delete(key));
    this.#asking.set(key, asking);
    return asking;
  }

  async #look(wanted: Wanted): Promise<LocatedVm> {
    const key = question(wanted);
    const { name } = wanted.settings;
    try {
      const answer = await ask(this.#aws, wanted, pinnedInstance(this.#paths, name));
      const { owner } = answer;
      this.#failedAt.delete(key);
      // `findVm` and `listVms` look up the user of an image. It is kept while the image is the same.
      const before = this.cache.scope(scopeOf(wanted)).vms.get(name);
      const vm = { ...answer.vm, user: before?.image === answer.vm.image ? before?.user : undefined };
      this.cache.change(scopeOf(wanted), (scope) => {
        scope.vms.set(name, vm);
        scope.owner = owner ?? scope.owner;
      });
      return vm;
    } catch (error) {
      if (isDefinite(error)) this.cache.change(scopeOf(wanted), ({ vms }) => vms.delete(name));
      else this.#failedAt.set(key, Date.now());
      throw error;
    }
  }
}

/** @returns whether the error says that AWS found no instance of the name, or several; a cached VM is then outdated */
export function isDefinite(error: unknown): boolean {
  return error instanceof MintError && (error.code === 'vm-not-found' || error.code === 'vm-ambiguous');
}

/** @returns the key under which the cache keeps VMs: equal for callers and settings that ask the same account and region */
export function scopeOf({ caller, settings }: Pick<Wanted, 'caller' | 'settings'>): string {
  return scopeKey(caller.environment, settings);
}

function question(wanted: Wanted): string {
  const { name, instance } = wanted.settings;
  return JSON.stringify([scopeOf(wanted), name, instance, wanted.byNameTag]);
}

async function ask(
  aws: Ec2,
  { caller, settings, byNameTag }: Wanted,
  pinned: string | undefined,
): Promise<{ readonly vm: LocatedVm; readonly owner?: string }> {
  const { name, region, profile } = settings;
  const id = settings.instance ?? (instancePattern.test(name) ? name : undefined);
  if (id !== undefined) {
    const [vm] = await aws.describeVms(caller, { region, profile, ids: [id] });
    if (vm === undefined || vm.state === 'terminated' || vm.state === 'shutting-down') throw gone(name, id);
    return { vm: located(name, 'id', vm) };
  }
  const nameTags = byNameTag ? [name] : undefined;
  const [{ owner }, candidates] = await Promise.all([
    aws.identity(caller, { region, profile }),
    aws.describeVms(caller, { region, profile, names: [name], nameTags }),
  ]);
  return { vm: choose(candidates, { name, owner, byNameTag, pinned }), owner };
}

function gone(name: string, id: string): MintError {
  const called = name === id ? id : `${name} (${id})`;
  return new MintError('vm-not-found', `the instance of ${called} was terminated`, {
    hint:
      name === id ? '`mint-ssh vms --refresh` lists your VMs' : `set instance of [vm.${name}] in ssh.toml`,
  });
}

/** Variables without secrets that identify the caller to AWS, or set AWS's endpoints. */
const counts = /^(?:AWS_\w+|HOME|USERPROFILE)$/;
const isSecret = /SECRET|TOKEN(?!_FILE)|PASSWORD/;

/**
 * Different callers, profiles and regions have different keys in the cache. The key contains no secrets, hashed or not.
 *
 * @param environment the caller's AWS settings
 * @returns the key of the cache's scope
 */
export function scopeKey(
  environment: Readonly<Record<string, string>>,
  target: { readonly profile?: string | undefined; readonly region?: string | undefined },
): string {
  const telling = Object.entries(environment)
    .filter(([name]) => counts.test(name) && !isSecret.test(name))
    .sort(([one], [other]) => (one < other ? -1 : 1));
  const text = JSON.stringify([target.profile ?? null, target.region ?? null, telling]);
  return createHash('sha256').update(text).digest('base64url').slice(0, 22);
}
