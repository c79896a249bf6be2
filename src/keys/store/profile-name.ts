import { printable } from '../../cli/terminal.ts';
import { MintError } from '../../errors.ts';
import { isRegion } from '../../settings/region.ts';

/** Matched before the name is lower-cased, because some letters outside ASCII have an ASCII lower case (U+212A). */
const profilePattern = /^[A-Za-z0-9][A-Za-z0-9 _-]{0,62}$/;
const namePattern = /^[a-z0-9][a-z0-9-]{0,62}$/;
/** Follows a VM's name, which may have dots. No other file of a key (`.pub`, `.next`, `.old`) ends like this. */
const dedicatedPattern = /^[a-z0-9][a-z0-9._-]{0,62}\.vm$/;
const shownCharacters = 40;

/**
 * Converts a profile to the name of its key: in lower case, with hyphens instead of spaces and underscores. The name is
 * safe as a file name, and never one of the store's own files, which all have a dot.
 *
 * @throws MintError `key-name`
 */
export function profileName(profile: string): string {
  if (isProfile(profile)) return profile.toLowerCase().replaceAll(/[ _]/g, '-');
  const cut = profile.length > shownCharacters ? `${profile.slice(0, shownCharacters)}…` : profile;
  throw new MintError('key-name', `invalid profile name: "${printable(cut)}"`, {
    hint: 'a profile has 1 to 63 letters, digits, hyphens, underscores and spaces, and starts with a letter or a digit',
  });
}

/** @returns whether `profileName` accepts the text */
export function isProfile(text: string): boolean {
  return profilePattern.test(text);
}

/** @returns whether `profileName` or `dedicatedName` may have returned the text */
export function isKeyName(text: string): boolean {
  return namePattern.test(text) || isDedicatedName(text);
}

/**
 * @param vm as `vmName` returned it
 * @returns the name of the key for this VM alone; it has a dot, so it never equals a profile's name
 */
export function dedicatedName(vm: string): string {
  return `${vm}.vm`;
}

/** Whether a text has the form that `dedicatedName` returns. */
export function isDedicatedName(text: string): boolean {
  return dedicatedPattern.test(text);
}

/**
 * @param given a profile or the name of a dedicated key, as the user typed it
 * @returns the name of the key
 * @throws MintError `key-name`
 */
export function keyNameOf(given: string): string {
  const lower = given.toLowerCase();
  return isDedicatedName(lower) ? lower : profileName(given);
}

/**
 * @param prefix the prefix of CloudWorkstation's or Prism's names
 * @returns the name of the key in EC2; undefined without a region
 * @throws MintError `usage` for an invalid region
 */
export function awsKeyName(
  name: string,
  region: string | undefined,
  prefix: 'cws' | 'prism' = 'cws',
): string | undefined {
  if (region === undefined) return undefined;
  if (isRegion(region)) return `${prefix}-${name}-${region}`;
  throw new MintError('usage', `"${printable(region.slice(0, shownCharacters))}" is not an AWS region`, {
    hint: 'a region is a name such as eu-central-1',
  });
}
