/**
 * Whether a name that comes from a tag already means something on this machine. Then it is not written without the
 * user's approval: whoever can write tags could take the place of a host that the user knows.
 */
import { createHmac } from 'node:crypto';
import { lookup } from 'node:dns/promises';
import { readFileSync } from 'node:fs';
import { type MentionedHosts, patternExpression } from './mentioned-hosts.ts';
import type { EffectiveConfig } from './ssh-client.ts';

/** What the rest of the machine says about names. */
export interface Surroundings {
  readonly mentioned: MentionedHosts;
  readonly known: KnownHosts;
  /** What ssh would do for a name, and for one that nothing names; undefined where that need not be asked. */
  readonly answers: ReadonlyMap<string, EffectiveConfig>;
  readonly other: EffectiveConfig;
  /** The name that nothing names. */
  readonly otherName: string;
  /** Names whose addresses need not be looked up. */
  readonly chosen?: ReadonlySet<string> | undefined;
}

/** The alias that every block has beside the name: Mint's own. */
export function aliasOf(name: string): string {
  return `mint-${name}`;
}

/**
 * Looks for each name, and for its alias.
 * @returns the names that are taken, each with the reason
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

/** The domains in which ssh itself looks for a name without dots: CanonicalizeHostname of ssh_config(5). */
function canonicalDomains(other: EffectiveConfig): string[] {
  const isOff = ['false', 'no', undefined].includes(other.get('canonicalizehostname')?.[0]);
  const domains = (other.get('canonicaldomains')?.[0] ?? '').split(' ');
  return isOff ? [] : domains.filter((domain) => domain !== '' && domain !== 'none');
}

/** @param endings what may follow a name where it is looked up: nothing, and the canonical domains */
function takenHere(
  name: string,
  endings: readonly string[],
  { mentioned, known, answers, other, otherName }: Surroundings,
): string | undefined {
  if (name === 'localhost') return 'it is the name of this machine';
  if (name.includes('.')) return 'it reads like a host name';
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

/** Resolving takes no longer than this in all, in milliseconds. */
const resolvingMs = 5000;

/** Names with an address, by whatever way the system resolves names: a hosts file, DNS with its search domains, mDNS. */
async function namesWithAddress(
  names: readonly string[],
  endings: readonly string[],
  otherName: string,
): Promise<ReadonlyMap<string, string>> {
  const found = new Map<string, string>();
  if (names.length === 0) return found;
  const deadline = AbortSignal.timeout(resolvingMs);
  // Some resolvers give every name, or every name in a domain, the same address: that says nothing about a name.
  const anyName = new Map<string, string | undefined>();
  for (const ending of endings) anyName.set(ending, await resolve(`${otherName}${ending}`, deadline));
  let isResolving = ![...anyName.values()].includes(undefined);
  for (const name of names) {
    const forms = [name, aliasOf(name)].flatMap((each) => endings.map((ending) => ({ each, ending })));
    // One at a time: a resolver that does not answer keeps a thread for each.
    for (const { each, ending } of forms) {
      const addresses = isResolving ? await resolve(`${each}${ending}`, deadline) : undefined;
      if (addresses === undefined) {
        isResolving = false;
        found.set(name, 'whether it is the name of another host could not be looked up');
      } else if (addresses !== '' && addresses !== anyName.get(ending)) {
        const what = each === name ? 'it' : `its alias ${each}`;
        found.set(name, `${what} is the name of a host (a hosts file, or DNS)`);
      }
      if (found.has(name)) break;
    }
  }
  return found;
}

/** The addresses, sorted; empty for none, undefined where there was no answer. */
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
  /** Whether an entry is for the name: plain, a pattern, hashed, or of a certificate authority; with whatever port. */
  has(name: string): boolean;
}

/** Ports that a hashed entry is looked for with, beside none. Its port cannot be read. */
const likelyPorts = [22, 2222, 41122];

/** @param files those that ssh reads; one that is not there has no entries */
export function readKnownHosts(files: readonly string[]): KnownHosts {
  const patterns = new Set<string>();
  const hashed: { readonly salt: Buffer; readonly hash: string }[] = [];
  for (const file of files) {
    for (const line of readLines(file)) {
      const fields = line.trim().split(/\s+/);
      // A revoked key is revoked for every host.
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

/** In lower case, without a negation and without `[host]:port`. */
function plainHost(host: string): string {
  const positive = host.replace(/^!/, '');
  return (/^\[(.*)\](?::[\d*?]+)?$/.exec(positive)?.[1] ?? positive).toLowerCase();
}

function readLines(file: string): string[] {
  try {
    return readFileSync(file, 'latin1').split('\n');
  } catch {
    // Not there, or not for us to read: ssh does without it as well.
    return [];
  }
}
