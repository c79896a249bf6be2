import { type EffectiveConfig, effectiveConfig, forEachHost } from './ssh-client.ts';
import type { UserConfig } from './user-config.ts';

export interface Overridden {
  readonly vm: string;
  /** In lower case, as `ssh -G` prints it. */
  readonly keyword: string;
  readonly wanted: string;
  readonly found: string;
  /** The first line of the user's file that sets the keyword; undefined if it does not. */
  readonly line: number | undefined;
}

/** The keywords of our blocks, as `ssh -G` spells them. IdentityFile is absent, because its values add up. */
const keywords = [
  'hostname',
  'hostkeyalias',
  'user',
  'port',
  'proxycommand',
  'proxyusefdpass',
  'forwardagent',
  'identitiesonly',
  'pubkeyauthentication',
  'pubkeyacceptedalgorithms',
  'preferredauthentications',
  'hostkeyalgorithms',
  'userknownhostsfile',
  'globalknownhostsfile',
  'stricthostkeychecking',
  'updatehostkeys',
  'hashknownhosts',
  'checkhostip',
  'verifyhostkeydns',
  'canonicalizehostname',
  'knownhostscommand',
  'gssapikeyexchange',
];

/** Compared only if the agent has the key. With `identity` the user sets these. */
const servedKeywords = ['identityagent', 'addkeystoagent', 'pkcs11provider'];

/** Compared only if our block has them. */
const multiplexKeywords = [
  'controlmaster',
  'controlpath',
  'controlpersist',
  'serveraliveinterval',
  'serveralivecountmax',
];

/**
 * Runs `ssh -G` for each VM with the user's config and with our file alone, and compares the results.
 *
 * @param sshConfig our file
 * @param configFile for `-F`; undefined if ssh reads its default files
 * @returns the values that the user's config overrides; empty if ours take effect everywhere
 */
export async function findOverridden(
  vms: readonly string[],
  sshConfig: string,
  userConfig: UserConfig,
  configFile: string | undefined,
): Promise<readonly Overridden[]> {
  const pairs = await forEachHost(vms, async (vm) => ({
    wanted: await effectiveConfig(vm, sshConfig),
    found: await effectiveConfig(vm, configFile),
  }));
  return [...pairs].flatMap(([vm, { wanted, found }]) => compare(vm, wanted, found, userConfig));
}

function compare(
  vm: string,
  wanted: EffectiveConfig,
  found: EffectiveConfig,
  userConfig: UserConfig,
): readonly Overridden[] {
  const isServed = wanted.get('identityfile')?.includes('none') === true;
  const compared = [
    ...keywords,
    ...(isServed ? servedKeywords : []),
    ...(wanted.has('controlpath') ? multiplexKeywords : []),
  ];
  return compared
    .map((keyword) => ({ keyword, want: shown(wanted, keyword), have: shown(found, keyword) }))
    .filter(({ want, have }) => want !== have)
    .map(({ keyword, want, have }) => ({
      vm,
      keyword,
      wanted: want,
      found: have,
      line: lineOf(keyword, userConfig),
    }));
}

function shown(config: EffectiveConfig, keyword: string): string {
  const value = config.get(keyword)?.join(' ') ?? '(nothing)';
  // For these keywords, unset and turned off are the same.
  return value === 'none' && (keyword === 'knownhostscommand' || keyword === 'pkcs11provider')
    ? '(nothing)'
    : value;
}

function lineOf(keyword: string, { bytes }: UserConfig): number | undefined {
  const lines = bytes?.toString('latin1').split('\n') ?? [];
  const at = lines.findIndex((line) => /^\s*(\w+)/.exec(line)?.[1]?.toLowerCase() === keyword);
  return at < 0 ? undefined : at + 1;
}
