/** `multiplex`: one connection that later logins to the same VM, user and port share. */
import { join } from 'node:path';
import { MintError } from '../errors.ts';
import type { Paths } from '../platform/paths.ts';
import { quotePath } from './quote.ts';

/**
 * The longest path of a control socket, in bytes: `sun_path` of macOS and the BSDs, less the dot and 16 random
 * characters that ssh appends while it creates the socket.
 */
const controlPathBytes = 103 - 17;
/** The longest port, and the longest user name that Instance Connect and Linux accept. */
const longestTokens = 5 + 32;
/** `%C` is a SHA-1 in hexadecimal. */
const hashBytes = 40;

/**
 * Makes ssh keep a connection open after its last session, and close it if the server does not answer for a minute. That
 * is longer than the 40 s that a user has for a prompt, during which ssh receives nothing.
 *
 * @param time in ssh_config's form, such as `10m`
 * @returns lines for the VM's block
 * @throws MintError `agent-unavailable` if the path of the run directory is too long
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

/** Lines for a login that must not share a connection, even if the user's config sets ControlPath. */
export const dedicatedLines: readonly [keyword: string, value: string][] = [
  ['ControlMaster', 'no'],
  ['ControlPath', 'none'],
];

/**
 * `<vm>:<port>:<user>`. VM names have no colon and ports only digits, so different logins have different files. If the
 * path might become too long, ssh's own hash `%C` replaces it.
 */
function controlPath(vm: string, { run, sharedSockets }: Paths): string {
  const room = controlPathBytes - Buffer.byteLength(sharedSockets) - 1;
  if (vm.length + 2 + longestTokens <= room) return withTokens(join(sharedSockets, vm), ':%p:%r');
  if (hashBytes <= room) return withTokens(sharedSockets, '/%C');
  throw new MintError(
    'agent-unavailable',
    `${JSON.stringify(run)} is too long for multiplex: socket paths are limited`,
    {
      hint: 'set run_dir in ssh.toml to a short path of your own, for example "~/.mint-run"',
    },
  );
}

function withTokens(path: string, tokens: string): string {
  return `${quotePath(path).slice(0, -1)}${tokens}"`;
}
