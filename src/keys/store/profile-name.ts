import { printable } from '../../cli/terminal.ts';
import { MintError } from '../../errors.ts';
import { isRegion } from '../../settings/region.ts';

/** Matched before lower-casing, since Unicode has letters whose lower case is ASCII (U+212A). */
const profilePattern = /^[A-Za-z0-9][A-Za-z0-9 _-]{0,62}$/;
const namePattern = /^[a-z0-9][a-z0-9-]{0,62}$/;
/** Behind a VM's own name, which may have dots: no file of another key (`.pub`, `.next`, `.old`) ends like this. */
const dedicatedPattern = /^[a-z0-9][a-z0-9._-]{0,62}\.vm$/;
const shownCharacters = 40;

/**
 * The name under which a profile's key is kept: lower case, with hyphens for spaces and underscores. What
 * passes is safe as a file name, and is never one of the store's own, which all have a dot.
 * @throws MintError `key-name`
 */
export function profileName(profile: string): string {
  if (isProfile(profile)) return profile.toLowerCase().replaceAll(/[ _]/g, '-');
  const cut = profile.length > shownCharacters ? `${profile.slice(0, shownCharacters)}…` : profile;
  throw new MintError('key-name', `invalid profile name: "${printable(cut)}"`, {
    hint: 'a profile has 1 to 63 letters, digits, hyphens, underscores and spaces, and starts with a letter or a digit',
  });
}

/** Whether `profileName` takes it. */
export function isProfile(text: string): boolean {
  return profilePattern.test(text);
}

/** Whether this is a name as `profileName` or `dedicatedName` gives it. */
export function isKeyName(text: string): boolean {
  return namePattern.test(text) || isDedicatedName(text);
}

/** The name of a key for this VM alone; no profile has a dot, so none can meet it. `vm` is one `vmName` gave. */
export function dedicatedName(vm: string): string {
  return `${vm}.vm`;
}

export function isDedicatedName(text: string): boolean {
  return dedicatedPattern.test(text);
}

/** The name of the key that the user typed. @throws MintError `key-name` */
export function keyNameOf(given: string): string {
  const lower = given.toLowerCase();
  return isDedicatedName(lower) ? lower : profileName(given);
}

/**
 * The name of the key in EC2; undefined without a region.
 * @param prefix of CloudWorkstation's names, or of Prism's
 * @throws MintError `usage` for what is not a region
 */
export function awsKeyName(
  name: string,
  region: string | undefined,
  prefix: 'cws' | 'prism' = 'cws',
): string | undefined {
  if (region === undefined) return undefined;
  if (isRegion(region)) return `${prefix}-${name}-${region}`;
  throw new MintError('usage', `"${printable(region.slice(0, shownCharacters))}" is not an AWS region`, {
    hint: 'a region is a word such as eu-central-1',
  });
}
