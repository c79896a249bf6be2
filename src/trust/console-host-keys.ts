/**
 * The host keys that cloud-init prints to a machine's console when it boots for the first time
 * (cloud-init's `write-ssh-key-fingerprints`, module keys_to_console): fingerprints first, then the keys.
 *
 * The network cannot write to a console, but whoever is on the machine can, later. So the first block alone counts,
 * and where it is not whole, nothing does: a later one must not take its place.
 */
import { type HostKey, parseHostKey } from '../ssh/hostkey.ts';
import { type ConsoleLine, consoleLines, startsAtBoot } from './console-lines.ts';

export interface ConsoleFingerprint {
  /** The key's type as its blob would name it, such as `ssh-ed25519`. */
  readonly type: string;
  /** `SHA256:` and 43 characters of base64. */
  readonly fingerprint: string;
}

export interface ConsoleHostKeys {
  /** The first block of keys, one of a type at most; where fingerprints stood before it, only keys that they name. */
  readonly keys: readonly HostKey[];
  /** The first block of fingerprints, where it came before the keys or there are none. */
  readonly fingerprints: readonly ConsoleFingerprint[];
  /** Nothing earlier has scrolled out: the output has the machine's first lines, and is shorter than EC2 would keep. */
  readonly startsAtBoot: boolean;
}

/** A block of more lines than this was not printed by cloud-init. */
const longestBlock = 64;

const marker = /^-----(BEGIN|END) SSH HOST KEY (KEYS|FINGERPRINTS)-----$/;

/** Reads what GetConsoleOutput gave, at most its first 64 KB; whatever is in it, this does not throw. */
export function readConsoleKeys(text: string): ConsoleHostKeys {
  const lines = consoleLines(text);
  const { keys, fingerprints } = firstBlocks(lines);
  const named = fingerprints && unambiguous(fingerprints.map(readFingerprint).filter(isPresent));
  const shown = unambiguous((keys ?? []).map(readKey).filter(isPresent));
  return {
    keys: shown.filter((key) => named?.some((one) => one.fingerprint === key.fingerprint) ?? true),
    fingerprints: named ?? [],
    startsAtBoot: startsAtBoot(text, lines),
  };
}

interface Blocks {
  readonly keys?: readonly string[];
  readonly fingerprints?: readonly string[];
}

/** The lines of the first block of each kind; nothing more once something is out of order. */
function firstBlocks(lines: readonly ConsoleLine[]): Blocks {
  let found: Blocks = {};
  let open: { kind: string; content: string[] } | undefined;
  for (const { content } of lines) {
    const [, edge, kind = ''] = marker.exec(content) ?? [];
    if (edge === undefined) {
      if (open !== undefined && open.content.push(content) > longestBlock) return found;
    } else if (edge === 'BEGIN') {
      if (open !== undefined || (kind === 'FINGERPRINTS' && found.fingerprints !== undefined)) return found;
      open = { kind, content: [] };
    } else {
      // An end alone: its beginning, and what stood before it, has scrolled out.
      if (open?.kind !== kind) return found;
      if (kind === 'KEYS') return { ...found, keys: open.content };
      found = { fingerprints: open.content };
      open = undefined;
    }
  }
  return found;
}

/** `ssh-ed25519 AAAA… root@ip-10-0-0-1`; other lines, such as the kernel's in between, are passed over. */
function readKey(line: string): HostKey | undefined {
  const [, type, base64 = ''] =
    /^([a-z0-9@.-]{3,64}) ([A-Za-z0-9+/]{16,4096}={0,2})(?: .*)?$/.exec(line) ?? [];
  const blob = Buffer.from(base64, 'base64');
  if (type === undefined || blob.toString('base64') !== base64) return undefined;
  try {
    const key = parseHostKey(blob);
    return key.type === type ? key : undefined;
  } catch {
    return undefined;
  }
}

/** `256 SHA256:… root@ip-10-0-0-1 (ED25519)`, as ssh-keygen -l prints it. */
function readFingerprint(line: string): ConsoleFingerprint | undefined {
  const [, bits = '', fingerprint, name = ''] =
    /^(\d{3,5}) (SHA256:[A-Za-z0-9+/]{43}) (?:.* )?\(([A-Z0-9]{2,16})\)$/.exec(line) ?? [];
  const type = typeOf(name, bits);
  return fingerprint === undefined || type === undefined ? undefined : { type, fingerprint };
}

function typeOf(name: string, bits: string): string | undefined {
  if (name === 'ED25519') return 'ssh-ed25519';
  if (name === 'RSA') return 'ssh-rsa';
  return name === 'ECDSA' && /^(?:256|384|521)$/.test(bits) ? `ecdsa-sha2-nistp${bits}` : undefined;
}

/** A machine has one key of a type: where two are shown, it is not for us to choose. */
function unambiguous<T extends ConsoleFingerprint>(all: readonly T[]): T[] {
  const isFirst = (one: T, at: number) => all.findIndex(({ type }) => type === one.type) === at;
  const isContested = (one: T) =>
    all.some(({ type, fingerprint }) => type === one.type && fingerprint !== one.fingerprint);
  return all.filter((one, at) => isFirst(one, at) && !isContested(one));
}

function isPresent<T>(value: T | undefined): value is T {
  return value !== undefined;
}
