import { type EffectiveConfig, effectiveConfig, forEachHost } from './ssh-client.ts';
import type { UserConfig } from './user-config.ts';

export interface Overridden {
  readonly vm: string;
  /** As `ssh -G` calls it. */
  readonly keyword: string;
  readonly wanted: string;
  readonly found: string;
  /** The line of the user's file that sets it first, where there is one. */
  readonly line: number | undefined;
}

/** As `ssh -G` spells what a block sets; identity files add up and so are never ours alone. */
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

/** Only where the agent has the key: with `identity` they are the user's own business. */
const servedKeywords = ['identityagent', 'addkeystoagent', 'pkcs11provider'];

/** Only where our block has them: else they are the user's own business. */
const multiplexKeywords = [
  'controlmaster',
  'controlpath',
  'controlpersist',
  'serveraliveinterval',
  'serveralivecountmax',
];

/**
 * Compares what ssh does for each VM with what our file alone says, by `ssh -G`. `configFile` is what ssh is
 * to be given, undefined for what it reads by itself. Empty when ours wins everywhere.
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
  // Unset and turned off are the same for these.
  return value === 'none' && (keyword === 'knownhostscommand' || keyword === 'pkcs11provider')
    ? '(nothing)'
    : value;
}

function lineOf(keyword: string, { bytes }: UserConfig): number | undefined {
  const lines = bytes?.toString('latin1').split('\n') ?? [];
  const at = lines.findIndex((line) => /^\s*(\w+)/.exec(line)?.[1]?.toLowerCase() === keyword);
  return at < 0 ? undefined : at + 1;
}
