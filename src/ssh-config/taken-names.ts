import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import type { EffectiveConfig } from './ssh-client.ts';

const run = promisify(execFile);

/** What a user's own config sets for a host of their own, as opposed to every host. */
const tellingKeywords = [
  'hostname',
  'user',
  'port',
  'proxycommand',
  'proxyjump',
  'hostkeyalias',
  'identityfile',
];

/**
 * Why a VM's name may already mean something else to this user; undefined when nothing speaks for that.
 * `own` is what the user's config says about the name, `other` what it says about `otherName`, of which it
 * knows nothing.
 */
export function takenBy(
  name: string,
  own: EffectiveConfig,
  other: EffectiveConfig,
  otherName: string,
  knownNames: ReadonlySet<string>,
): string | undefined {
  if (name === 'localhost') return 'it is the name of this machine';
  const differs = tellingKeywords.find((keyword) => {
    const expected = other.get(keyword)?.map((value) => value.replaceAll(otherName, name));
    return own.get(keyword)?.join('\n') !== expected?.join('\n');
  });
  if (differs !== undefined) return `your ssh config sets ${differs} for it`;
  if (knownNames.has(name)) return 'your known_hosts has a host of that name';
  if (name.includes('.')) return 'it reads like a host name';
  return undefined;
}

/** Those of `names` that one of the known_hosts files has, with whatever port, in clear or hashed. */
export async function namesInKnownHosts(
  files: readonly string[],
  names: readonly string[],
): Promise<ReadonlySet<string>> {
  const found = new Set<string>();
  for (const file of files) {
    const lines = readLines(file);
    const clear = new Set(lines.flatMap(hostsOf));
    for (const name of names) {
      if (clear.has(name)) found.add(name);
    }
    if (!lines.some((line) => line.startsWith('|1|') || line.includes(' |1|'))) continue;
    for (const name of names) {
      if (!found.has(name) && (await isHashedIn(file, name))) found.add(name);
    }
  }
  return found;
}

function readLines(file: string): string[] {
  try {
    return readFileSync(file, 'latin1').split('\n');
  } catch {
    // Not there, or not for us to read: ssh does without it as well.
    return [];
  }
}

/** sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT": an optional marker, then hosts, with the port as `[host]:port`. */
function hostsOf(line: string): string[] {
  const fields = line.trim().split(/\s+/);
  const hosts = fields[0]?.startsWith('@') ? fields[1] : fields[0];
  if (hosts === undefined || hosts.startsWith('#') || hosts.startsWith('|')) return [];
  return hosts.split(',').map((host) => (/^\[(.*)\](?::\d+)?$/.exec(host)?.[1] ?? host).toLowerCase());
}

async function isHashedIn(file: string, name: string): Promise<boolean> {
  try {
    const { stdout } = await run('ssh-keygen', ['-F', name, '-f', file], { timeout: 10_000 });
    return stdout !== '';
  } catch {
    // Status 1: it is not there.
    return false;
  }
}
