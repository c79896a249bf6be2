/** Finds the VM of a command line, with the user and port for a login. */

import { ownAws } from '../aws/own-credentials.ts';
import type { Target } from '../aws/requests.ts';
import { withProgress } from '../cli/progress.ts';
import { closest } from '../cli/suggest.ts';
import { MintError } from '../errors.ts';
import type { Caller } from '../platform/caller.ts';
import { thisCaller } from '../platform/caller.ts';
import type { Paths } from '../platform/paths.ts';
import { writtenNames } from '../settings/approved-names.ts';
import { type Settings, usesAws, type VmSettings } from '../settings/settings.ts';
import { instancePattern } from '../settings/vm-name.ts';
import { imageUser } from './image-user.ts';
import { knownNames } from './known-names.ts';
import type { LocatedVm } from './located-vm.ts';
import { type Ec2, Names, scopeOf } from './names.ts';
import { usualLogin } from './usual-login.ts';

export interface FindRequest {
  readonly paths: Paths;
  readonly settings: Settings;
  /** As `vmName` returned it. */
  readonly name: string;
}

export interface FoundVm {
  readonly vm: VmSettings;
  /** The VM as AWS returned it, now or earlier; undefined if ssh.toml, a block or a job was enough. */
  readonly located: LocatedVm | undefined;
  /** Neither ssh.toml nor a block has the name. It may match a `Name` tag only because the user typed it. */
  readonly isTypedOnly: boolean;
}

/**
 * Finds the VM in ssh.toml, our blocks, the cache, and then in AWS.
 *
 * @throws MintError `vm-not-found`, `vm-ambiguous`, `bad-settings`, or `aws-…` if the call to AWS failed
 */
export async function findVm({ paths, settings, name }: FindRequest): Promise<FoundVm> {
  const isKnown = settings.knows(name);
  const own = settings.named(name);
  const written = writtenNames(paths).logins.get(name);
  if (isKnown && (own.hasLogin || !usesAws(own))) {
    return { vm: own, located: undefined, isTypedOnly: false };
  }
  const caller = thisCaller();
  const wanted = { caller, settings: own, byNameTag: true };
  const known = (located: LocatedVm): FoundVm => ({
    vm: settings.named(name, usualLogin(located)),
    located,
    isTypedOnly: !isKnown || instancePattern.test(name),
  });
  const withoutAws = new Names(paths, unreachable).cached(wanted)?.vm;
  if (withoutAws !== undefined && (withoutAws.isMint || withoutAws.user !== undefined))
    return known(withoutAws);
  if (written !== undefined) {
    return { vm: settings.named(name, written), located: undefined, isTypedOnly: false };
  }
  const aws = ownAws();
  try {
    const names = new Names(paths, aws);
    const located = await withProgress(`asking AWS about ${name}`, () => names.look(wanted));
    const user = located.isMint ? undefined : await userOf(aws, caller, own, located);
    const complete = user === undefined ? located : { ...located, user };
    names.cache.change(scopeOf(wanted), ({ vms }) => vms.set(name, complete));
    names.cache.flush();
    return known(complete);
  } catch (error) {
    // ssh.toml has the VM. The login itself reports the error, with more detail.
    if (isKnown && error instanceof MintError) return { vm: own, located: undefined, isTypedOnly: false };
    throw withSuggestion(error, own, paths);
  } finally {
    await aws.close();
  }
}

/** @returns the options that the proxy needs beside the name */
export function proxyOptionsFor({ isTypedOnly }: FoundVm): readonly string[] {
  return isTypedOnly ? ['--by-name'] : [];
}

/** Adds the near name of a VM that is known to the error for a name that AWS does not know. */
function withSuggestion(error: unknown, { name, profile, region }: VmSettings, paths: Paths): unknown {
  if (!(error instanceof MintError && error.code === 'vm-not-found')) return error;
  const near = closest(name, knownNames(paths, { profile, region }));
  if (near === undefined) return error;
  return new MintError(error.code, error.message, { cause: error, hint: `did you mean: ${near}` });
}

/** The usual user of its image; undefined if neither the image nor AWS shows it. */
async function userOf(
  aws: Ec2,
  caller: Caller,
  { profile }: VmSettings,
  { image, region }: LocatedVm,
): Promise<string | undefined> {
  if (image === undefined) return undefined;
  const target: Target = { region, profile };
  const [found] = await aws.images(caller, { ...target, ids: [image] }).catch(() => []);
  return found && imageUser(found);
}

const unreachable: Ec2 = {
  describeVms: refuse,
  identity: refuse,
  images: refuse,
};

async function refuse(): Promise<never> {
  throw new MintError('aws-unreachable', 'AWS is not asked here');
}
