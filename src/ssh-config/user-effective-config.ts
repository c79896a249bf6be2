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
import { includeTheirConfigs } from './system-config.ts';
import { aliasOf, readKnownHosts, takenNames } from './taken-names.ts';
import type { UserConfig } from './user-config.ts';

/** What the user's ssh does with the VMs' names as long as ours says nothing about them. */
export interface OwnConfig {
  /** The names to which the user's config forwards the agent. */
  readonly forwardsAgent: ReadonlySet<string>;
  /** The `IdentityAgent` under `Host *`: an absolute path or `none`; undefined where `SSH_AUTH_SOCK` counts. */
  readonly identityAgent: string | undefined;
  /** The rare keywords that this config uses: see `usedKeywords`. */
  readonly used: ReadonlySet<string>;
  /** Names that already mean something else, each with the reason. */
  readonly taken: ReadonlyMap<string, string>;
}

/** A name that no one's config speaks of, to compare with. */
export const otherName = 'x7c1f0e9mint';

/**
 * Asks `ssh -G` with the user's config as it is without our Include. `withSystem`: followed by the system's,
 * as ssh does it unless it is given a file. Throws `io-failed` with ssh's words when ssh refuses that config:
 * then nothing we write could work.
 */
export async function readOwnConfig(
  config: UserConfig,
  names: readonly string[],
  options: {
    readonly paths: Pick<Paths, 'run' | 'sshConfig'>;
    readonly include: string;
    readonly withSystem: boolean;
    /** Names that need no approval: whether they mean something else is not looked into. */
    readonly settled?: ReadonlySet<string>;
    /** Names in ssh.toml, which the user has chosen: their addresses are not looked up. */
    readonly chosen?: ReadonlySet<string>;
  },
): Promise<OwnConfig> {
  return await withScratchDirectory(options.paths, async (directory) => {
    const file = join(directory, 'config');
    try {
      const own = withoutMintBlocks(muteInclude(config.bytes, options.include, options.paths.sshConfig));
      const system = options.withSystem ? `\n${await includeTheirConfigs({ user: false })}` : '';
      writeFileSync(file, Buffer.concat([own, Buffer.from(system)]), { mode: 0o600 });
      const other = await effectiveConfig(otherName, file);
      // Asking ssh costs a process for each name; most configs name few of a thousand VMs.
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

/** What no block can say (`$NAME`, a path with a quote) is left to `upstream_agent`. */
export function identityAgentOf(config: EffectiveConfig): string | undefined {
  const value = config.get('identityagent')?.[0] ?? '';
  return value === 'none' || isWritablePath(value) ? value : undefined;
}

function knownHostsFiles(config: EffectiveConfig): string[] {
  const values = ['userknownhostsfile', 'globalknownhostsfile'].flatMap((key) => config.get(key) ?? []);
  const home = userInfo().homedir || homedir();
  return values.flatMap((value) => value.split(' ')).map((path) => path.replace(/^~(?=\/)/, home));
}

/** The person knows their own file, not the copy that ssh was given. */
function inPlaceOf(copy: string, path: string, error: unknown): unknown {
  if (!(error instanceof MintError)) return error;
  const message = error.message.replaceAll(copy, path);
  return new MintError(error.code, message, { hint: error.hint, cause: error.cause });
}
