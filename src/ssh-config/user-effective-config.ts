import { writeFileSync } from 'node:fs';
import { homedir, userInfo } from 'node:os';
import { join } from 'node:path';
import { MintError } from '../errors.ts';
import type { Paths } from '../platform/paths.ts';
import { withScratchDirectory } from '../platform/scratch.ts';
import { muteInclude } from './include.ts';
import { mentionedHosts } from './mentioned-hosts.ts';
import { withoutMintBlocks } from './mint-blocks.ts';
import { isWritablePath } from './quote.ts';
import { usedKeywords } from './render.ts';
import { type EffectiveConfig, effectiveConfig, forEachHost } from './ssh-client.ts';
import { includeUserAndSystem } from './system-config.ts';
import { aliasOf, readKnownHosts, takenNames } from './taken-names.ts';
import type { UserConfig } from './user-config.ts';

/** What the user's ssh does for the VMs' names without our blocks. */
export interface UserEffectiveConfig {
  /** The names for which the user's config turns on agent forwarding. */
  readonly forwardsAgent: ReadonlySet<string>;
  /** The `IdentityAgent` under `Host *`: an absolute path or `none`; undefined if ssh uses `SSH_AUTH_SOCK`. */
  readonly identityAgent: string | undefined;
  /** The rare keywords that the config uses; see `usedKeywords`. */
  readonly used: ReadonlySet<string>;
  /** Names that already refer to another host, each with the reason. */
  readonly taken: ReadonlyMap<string, string>;
}

/** A name that no config mentions, for comparison. */
export const otherName = 'x7c1f0e9mint';

/**
 * Runs `ssh -G` with the user's config without our Include, and with `withSystem` the system's config after it.
 *
 * @throws MintError `io-failed` with ssh's message if ssh refuses that config: no block could work then
 */
export async function readUserEffectiveConfig(
  config: UserConfig,
  names: readonly string[],
  options: {
    readonly paths: Pick<Paths, 'run' | 'sshConfig'>;
    readonly include: string;
    readonly withSystem: boolean;
    /** Names that need no approval, and are not checked. */
    readonly settled?: ReadonlySet<string>;
    /** Names in ssh.toml, which the user has chosen. Their addresses are not looked up. */
    readonly chosen?: ReadonlySet<string>;
  },
): Promise<UserEffectiveConfig> {
  return await withScratchDirectory(options.paths, async (directory) => {
    const file = join(directory, 'config');
    try {
      const own = withoutMintBlocks(muteInclude(config.bytes, options.include, options.paths.sshConfig));
      const system = options.withSystem ? `\n${await includeUserAndSystem({ user: false })}` : '';
      writeFileSync(file, Buffer.concat([own, Buffer.from(system)]), { mode: 0o600 });
      const other = await effectiveConfig(otherName, file);
      // Each name costs a process, and most configs mention few of a thousand VMs.
      const mentioned = mentionedHosts([file]);
      const mayDiffer = names
        .flatMap((name) => [name, aliasOf(name)])
        .filter((name) => mentioned.isUncertain || mentioned.mentions(name));
      const answers = await forEachHost(mayDiffer, (name) => effectiveConfig(name, file));
      const { settled, chosen } = options;
      const known = readKnownHosts(knownHostsFiles(other));
      const open = names.filter((name) => !settled?.has(name));
      return {
        forwardsAgent: new Set(
          names.filter((name) => (answers.get(name) ?? other).get('forwardagent')?.[0] === 'yes'),
        ),
        identityAgent: identityAgentOf(other),
        used: usedKeywords([other, ...answers.values()]),
        taken: await takenNames(open, { mentioned, known, answers, other, otherName, chosen }),
      };
    } catch (error) {
      throw inPlaceOf(file, config.path, error);
    }
  });
}

/**
 * @returns an absolute path or `none`; undefined for a value that our block cannot repeat (`$NAME`, a path with a
 *   quote); `upstream_agent` can set the agent then
 */
export function identityAgentOf(config: EffectiveConfig): string | undefined {
  const value = config.get('identityagent')?.[0] ?? '';
  return value === 'none' || isWritablePath(value) ? value : undefined;
}

function knownHostsFiles(config: EffectiveConfig): string[] {
  const values = ['userknownhostsfile', 'globalknownhostsfile'].flatMap((key) => config.get(key) ?? []);
  const home = userInfo().homedir || homedir();
  return values.flatMap((value) => value.split(' ')).map((path) => path.replace(/^~(?=\/)/, home));
}

/** Names the user's file in an error, instead of the temporary copy that ssh read. */
function inPlaceOf(copy: string, path: string, error: unknown): unknown {
  if (!(error instanceof MintError)) return error;
  const message = error.message.replaceAll(copy, path);
  return new MintError(error.code, message, { hint: error.hint, cause: error.cause });
}
