/**
 * Finds out whether a name from a tag already refers to another host on this machine. Such a name gets no block without
 * the user's approval: otherwise, anyone who can write tags could take the place of a host that the user knows.
 */
import { createHmac } from 'node:crypto';
import { lookup } from 'node:dns/promises';
import { readFileSync } from 'node:fs';
import { type MentionedHosts, patternExpression } from './mentioned-hosts.ts';
import type { EffectiveConfig } from './ssh-client.ts';

/** Other meanings of names on this machine. */
export interface Surroundings {
  readonly mentioned: MentionedHosts;
  readonly known: KnownHosts;
  /** The output of `ssh -G` by name. Names that no config mentions are absent. */
  readonly answers: ReadonlyMap<string, EffectiveConfig>;
  readonly other: EffectiveConfig;
  /** A name that no config mentions. */
  readonly otherName: string;
  /** Names whose addresses are not looked up. */
  readonly chosen?: ReadonlySet<string> | undefined;
}

/** @returns Mint's alias, which every block has beside the name */
export function aliasOf(name: string): string {
  return `mint-${name}`;
}

/**
 * Checks each name and its alias.
 *
 * @returns the taken names, each with the reason
 */
export async function takenNames(
  names: Iterable<string>,
  surroundings: Surroundings,
): Promise<ReadonlyMap<string, string>> {
  const taken = new Map<string, string>();
  const open: string[] = [];
  const endings = ['', ...canonicalDomains(surroundings.other).map((domain) => `.${domain}`)];
  for (const name of names) {
    const reason = takenHere(name, endings, surroundings);
    if (reason !== undefined) taken.set(name, reason);
    else if (!surroundings.chosen?.has(name)) open.push(name);
  }
  for (const [name, reason] of await namesWithAddress(open, endings, surroundings.otherName))
    taken.set(name, reason);
  return taken;
}

/** The domains that ssh appends to a name without dots: CanonicalizeHostname of ssh_config(5). */
function canonicalDomains(other: EffectiveConfig): string[] {
  const isOff = ['false', 'no', undefined].includes(other.get('canonicalizehostname')?.[0]);
  const domains = (other.get('canonicaldomains')?.[0] ?? '').split(' ');
  return isOff ? [] : domains.filter((domain) => domain !== '' && domain !== 'none');
}

/** @param endings suffixes for lookups: the empty string, and the canonical domains */
function takenHere(
  name: string,
  endings: readonly string[],
  { mentioned, known, answers, other, otherName }: Surroundings,
): string | undefined {
  if (name === 'localhost') return 'it is this machine';
  if (name.includes('.')) return 'it looks like a host name';
  for (const each of [name, aliasOf(name)]) {
    const what = each === name ? 'it' : `its alias ${each}`;
    if (mentioned.mentions(each)) return `your ssh config has a Host or Match line for ${what}`;
    const differs = differingKeyword(each, answers.get(each), other, otherName);
    if (differs !== undefined) return `your ssh config sets ${differs} for ${what}`;
    if (endings.some((ending) => known.has(`${each}${ending}`)))
      return `your known_hosts has an entry for ${what}`;
  }
  return undefined;
}

function differingKeyword(
  name: string,
  own: EffectiveConfig | undefined,
  other: EffectiveConfig,
  otherName: string,
): string | undefined {
  if (own === undefined) return undefined;
  return [...new Set([...own.keys(), ...other.keys()])].find((keyword) => {
    const expected = other.get(keyword)?.map((value) => value.replaceAll(otherName, name));
    return own.get(keyword)?.join('\n') !== expected?.join('\n');
  });
}

/** The time limit for all lookups, in milliseconds. */
const resolvingMs = 5000;

/** Finds the names that the system resolves: with a hosts file, DNS and its search domains, or mDNS. */
async function namesWithAddress(
  names: readonly string[],
  endings: readonly string[],
  otherName: string,
): Promise<ReadonlyMap<string, string>> {
  const found = new Map<string, string>();
  if (names.length === 0) return found;
  const deadline = AbortSignal.timeout(resolvingMs);
  // Some resolvers return the same address for every name, or every name in a domain. That does not count.
  const anyName = new Map<string, string | undefined>();
  for (const ending of endings) anyName.set(ending, await resolve(`${otherName}${ending}`, deadline));
  let isResolving = ![...anyName.values()].includes(undefined);
  for (const name of names) {
    const forms = [name, aliasOf(name)].flatMap((each) => endings.map((ending) => ({ each, ending })));
    // One at a time, because each unanswered lookup occupies a thread.
    for (const { each, ending } of forms) {
      const addresses = isResolving ? await resolve(`${each}${ending}`, deadline) : undefined;
      if (addresses === undefined) {
        isResolving = false;
        found.set(name, 'the lookup of its address failed, so it may be the name of another host');
      } else if (addresses !== '' && addresses !== anyName.get(ending)) {
        const what = each === name ? 'it' : `its alias ${each}`;
        found.set(name, `${what} is the name of a host (a hosts file, or DNS)`);
      }
      if (found.has(name)) break;
    }
  }
  return found;
}

/** @returns the sorted addresses; an empty string if the name has none, undefined without an answer */
async function resolve(name: string, deadline: AbortSignal): Promise<string | undefined> {
  const late = new Promise<undefined>((settle) => {
    if (deadline.aborted) settle(undefined);
    deadline.addEventListener('abort', () => settle(undefined));
  });
  const looked = lookup(name, { all: true }).then(
    (all) =>
      all
        .map(({ address }) => address)
        .sort()
        .join(' '),
    ({ code }: NodeJS.ErrnoException) => (code === 'ENOTFOUND' || code === 'ENODATA' ? '' : undefined),
  );
  return Promise.race([looked, late]);
}

/** The host names in known_hosts files: sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT". */
export interface KnownHosts {
  /** Whether an entry matches the name, with any port: plain, a pattern, hashed, or of a certificate authority. */
  has(name: string): boolean;
}

/** The ports that are tried for hashed entries, beside no port. A hash does not show its port. */
const likelyPorts = [22, 2222, 41122];

/** @param files the paths that ssh reads; a missing file has no entries */
export function readKnownHosts(files: readonly string[]): KnownHosts {
  const patterns = new Set<string>();
  const hashed: { readonly salt: Buffer; readonly hash: string }[] = [];
  for (const file of files) {
    for (const line of readLines(file)) {
      const fields = line.trim().split(/\s+/);
      // A revoked key says nothing about the host.
      if (fields[0] === '@revoked' || fields[0]?.startsWith('#')) continue;
      const hosts = (fields[0]?.startsWith('@') ? fields[1] : fields[0]) ?? '';
      for (const host of hosts.split(',')) {
        const [, salt, hash] = /^\|1\|([A-Za-z0-9+/=]+)\|([A-Za-z0-9+/=]+)$/.exec(host) ?? [];
        if (salt !== undefined && hash !== undefined)
          hashed.push({ salt: Buffer.from(salt, 'base64'), hash });
        else if (host !== '') patterns.add(plainHost(host));
      }
    }
  }
  const wild = [...patterns].filter((pattern) => /[*?]/.test(pattern)).map(patternExpression);
  return {
    has(name) {
      const lower = name.toLowerCase();
      if (patterns.has(lower) || wild.some((one) => one.test(lower))) return true;
      const forms = [lower, ...likelyPorts.map((port) => `[${lower}]:${port}`)];
      return hashed.some(({ salt, hash }) =>
        forms.some((form) => createHmac('sha1', salt).update(form).digest('base64') === hash),
      );
    },
  };
}

/** The pattern in lower case, without negation, brackets and port. */
function plainHost(host: string): string {
  const positive = host.replace(/^!/, '');
  return (/^\[(.*)\](?::[\d*?]+)?$/.exec(positive)?.[1] ?? positive).toLowerCase();
}

function readLines(file: string): string[] {
  try {
    return readFileSync(file, 'latin1').split('\n');
  } catch {
    // Missing, or not readable: ssh ignores it too.
    return [];
  }
}
