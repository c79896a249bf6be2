/**
 * The host keys that cloud-init prints to an instance's console when it boots for the first time
 * (`write-ssh-key-fingerprints`, module keys_to_console): fingerprints through `logger -s`, then the keys.
 *
 * The network cannot write to a console; programs on the VM can. An unprivileged user reaches it where the journal or
 * syslog is forwarded to it, with a line such as `[   99.1] cloud-init[812]: …` (`logger -t cloud-init`). So only the
 * first block counts, and only if these conditions hold:
 *
 * - no line before it shows a login of a user, or a reboot: cloud-init prints the keys once in the life of an instance;
 * - a block whose lines start with a time or a program's name is from the first boot: the output begins with the
 *   machine's first lines, and no login prompt comes before the block;
 * - a block of bare lines may follow a login prompt, because on many images the prompt comes before cloud-init's last
 *   stage. Then cloud-init's fingerprints of the same keys come right before it.
 */
import { type HostKey, parseHostKey } from '../ssh/hostkey.ts';
import { type ConsoleLine, consoleLines, startsAtBoot } from './console-lines.ts';
import type { ConsoleKey } from './pin.ts';

export interface ConsoleHostKeys {
  /** At most one of each type; empty if no block counts. */
  readonly keys: readonly ConsoleKey[];
  /** There is a block, and every key in it could be read. Other keys are then not host keys of the instance. */
  readonly isWhole: boolean;
  /** No earlier output is missing: it has the machine's first lines, and is shorter than EC2's limit. */
  readonly startsAtBoot: boolean;
}

/** cloud-init prints no longer block, in lines. */
const maxBlockLines = 64;

const marker = /^-----(BEGIN|END) SSH HOST KEY (KEYS|FINGERPRINTS)-----$/;
/** Messages of sshd, logind and systemd about a login, if the journal is forwarded to the console. */
const loggedIn =
  /Accepted (?:publickey|password|keyboard-interactive\/pam) for |New session \S+ of user |Started (?:session-\S+ - )?Session \S+ of [Uu]ser |session opened for user (?!root\b)/;
const kernelStart = /^(?:\[ {0,8}0\.0{3,9}\] )?Linux version \d/;
/** The prompt of a getty, after the host name. */
const prompt = /(?:^|\s)\S+ login:(?: |$)/;
/** Printed after the kernel has started. A later start of a kernel is a reboot. */
const userspace = / login:|cloud-init|systemd\[1\]: /;
/** A line that was probably a key: it has a type's name, or much base64. */
const keyLike = /^(?:ssh-|ecdsa-sha2-|sk-|@)|[A-Za-z0-9+/]{40}/;

/** @param text GetConsoleOutput's answer, of which at most the first 64 KB are read. Never throws. */
export function readConsoleKeys(text: string): ConsoleHostKeys {
  const lines = consoleLines(text);
  const starts = startsAtBoot(text, lines);
  const block = firstBlock(lines);
  const none = { keys: [], isWhole: false, startsAtBoot: starts };
  if (block === undefined || (!block.isBare && (!starts || block.isAfterPrompt))) return none;
  const read = block.keys.map((line) => readKey(line) ?? (keyLike.test(line) ? 'torn' : undefined));
  const keys = read.filter(isKey);
  const prints = block.fingerprints.map(readFingerprint).filter(isPresent);
  const isNamed = ({ fingerprint }: HostKey) =>
    block.fingerprints.some((line) => line.includes(` ${fingerprint} `));
  if (block.isAfterPrompt && !keys.every(isNamed)) return none;
  // cloud-init can be configured not to print a key of some type, and still prints its fingerprint.
  const all = [...keys, ...prints.filter(({ type }) => !keys.some((key) => key.type === type))];
  const isUnnamed = (key: HostKey) => block.fingerprints.length > 0 && !isNamed(key);
  const unnamed = new Set(keys.filter(isUnnamed).map(({ type }) => type));
  const listed = unambiguous(all).filter(({ type }) => !unnamed.has(type));
  const isWhole = !read.includes('torn') && listed.length > 0 && listed.length === distinct(all);
  return { keys: listed, isWhole, startsAtBoot: starts };
}

interface Block {
  /** The lines of the block of keys, and of the block of fingerprints before it. */
  readonly keys: readonly string[];
  readonly fingerprints: readonly string[];
  /** No line of the block of keys has a time or a program's name before it. */
  readonly isBare: boolean;
  /** A login prompt comes before it. */
  readonly isAfterPrompt: boolean;
}

/** @returns the first block of keys; undefined if there is no block, or a line before its end is out of order */
function firstBlock(lines: readonly ConsoleLine[]): Block | undefined {
  let fingerprints: readonly string[] | undefined;
  let open: { kind: string; content: string[]; isBare: boolean } | undefined;
  let isUp = false;
  let hasPrompt = false;
  for (const { whole, content } of lines) {
    if (loggedIn.test(whole) || (isUp && kernelStart.test(whole))) return undefined;
    isUp ||= userspace.test(whole);
    hasPrompt ||= prompt.test(whole);
    const [, edge, kind = ''] = marker.exec(content) ?? [];
    const isBare = whole === content;
    if (edge === undefined) {
      if (open === undefined) continue;
      if (open.content.push(content) > maxBlockLines) return undefined;
      if (!isBare && keyLike.test(content)) open.isBare = false;
    } else if (edge === 'BEGIN') {
      if (open !== undefined || (kind === 'FINGERPRINTS' && fingerprints !== undefined)) return undefined;
      open = { kind, content: [], isBare };
    } else {
      // An end without a start: the start, and the text before it, has scrolled out.
      if (open?.kind !== kind) return undefined;
      if (kind === 'KEYS') {
        return {
          keys: open.content,
          fingerprints: fingerprints ?? [],
          isBare: open.isBare && isBare,
          isAfterPrompt: hasPrompt,
        };
      }
      fingerprints = open.content;
      open = undefined;
    }
  }
  return undefined;
}

/** `ssh-ed25519 AAAA… root@ip-10-0-0-1`. */
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
function readFingerprint(line: string): ConsoleKey | undefined {
  const [, bits = '', fingerprint, name = ''] =
    /^(\d{3,5}) (SHA256:[A-Za-z0-9+/]{43}) (?:.* )?\(([A-Z0-9]{2,16})\)$/.exec(line) ?? [];
  const type = typeNamed(name, bits);
  return fingerprint === undefined || type === undefined ? undefined : { type, fingerprint };
}

function typeNamed(name: string, bits: string): string | undefined {
  if (name === 'ED25519') return 'ssh-ed25519';
  if (name === 'RSA') return 'ssh-rsa';
  return name === 'ECDSA' && /^(?:256|384|521)$/.test(bits) ? `ecdsa-sha2-nistp${bits}` : undefined;
}

/** An instance prints one key of each type. If there are two, neither counts. */
function unambiguous(all: readonly (HostKey | ConsoleKey)[]): ConsoleKey[] {
  const isFirst = (one: ConsoleKey, at: number) => all.findIndex(({ type }) => type === one.type) === at;
  const isContested = (one: ConsoleKey) =>
    all.some(({ type, fingerprint }) => type === one.type && fingerprint !== one.fingerprint);
  return all
    .filter((one, at) => isFirst(one, at) && !isContested(one))
    .map((one) => ({
      type: one.type,
      fingerprint: one.fingerprint,
      key: 'blob' in one ? one : undefined,
    }));
}

function distinct(all: readonly ConsoleKey[]): number {
  return new Set(all.map(({ fingerprint }) => fingerprint)).size;
}

function isKey(value: HostKey | 'torn' | undefined): value is HostKey {
  return value !== undefined && value !== 'torn';
}

function isPresent<T>(value: T | undefined): value is T {
  return value !== undefined;
}
