/** `multiplex`: one connection that later logins to the same VM, user and port share. */
import { join } from 'node:path';
import { MintError } from '../errors.ts';
import type { Paths } from '../platform/paths.ts';
import { quotePath } from './quote.ts';

/**
 * ssh first binds the name with a dot and 16 random characters behind it, then renames: what is left of
 * `sun_path` on macOS and the BSDs, in bytes.
 */
const controlPathBytes = 103 - 17;
/** A port, and the longest name of a user that Instance Connect and Linux take. */
const longestTokens = 5 + 32;
/** `%C` is a SHA-1 in hexadecimal. */
const hashBytes = 40;

/**
 * The lines of a block that make ssh keep a connection for `time` after its last session, and notice when it
 * is dead. A minute without an answer ends it: more than the forty seconds that a person has for a question,
 * while which ssh hears nothing. @throws MintError `agent-unavailable` where the run directory is too deep
 */
export function sharingLines(vm: string, time: string, paths: Paths): [keyword: string, value: string][] {
  return [
    ['ControlMaster', 'auto'],
    ['ControlPath', controlPath(vm, paths)],
    ['ControlPersist', time],
    ['ServerAliveInterval', '15'],
    ['ServerAliveCountMax', '4'],
  ];
}

/** For a login that is to be a connection of its own, whatever the user's config says. */
export const aloneLines: readonly [keyword: string, value: string][] = [
  ['ControlMaster', 'no'],
  ['ControlPath', 'none'],
];

/**
 * `<vm>:<port>:<user>`: no VM's name has a colon and no port is anything but digits, so no two of them are the
 * same file. Where that may not fit, ssh's own hash of them.
 */
function controlPath(vm: string, { run, sharedSockets }: Paths): string {
  const room = controlPathBytes - Buffer.byteLength(sharedSockets) - 1;
  if (vm.length + 2 + longestTokens <= room) return withTokens(join(sharedSockets, vm), ':%p:%r');
  if (hashBytes <= room) return withTokens(sharedSockets, '/%C');
  throw new MintError(
    'agent-unavailable',
    `${JSON.stringify(run)} is too deep for multiplex: a socket has no room`,
    {
      hint: 'set run_dir in ssh.toml to a short path of your own, for example "~/.mint-run"',
    },
  );
}

function withTokens(path: string, tokens: string): string {
  return `${quotePath(path).slice(0, -1)}${tokens}"`;
}
