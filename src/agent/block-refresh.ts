/**
 * New VMs of the caller's own get their blocks without a command: after a login to one of them, in our own file
 * only, and only while the user's config still brings that file in.
 */
import type { Caller } from '../aws/workers.ts';
import { writtenNames } from '../config/approved-names.ts';
import { inspectInclude } from '../config/include.ts';
import { loadSettings } from '../config/settings.ts';
import { carryOut, planWriting } from '../config/ssh-config-change.ts';
import { quoteInclude } from '../config/ssh-quote.ts';
import { readUserConfig, type UserConfig, userConfigPath } from '../config/user-config.ts';
import { planBlocks } from '../names/block-plan.ts';
import { elsewhere, listCached, listVms } from '../names/list-vms.ts';
import { scopeOf } from '../names/names.ts';
import type { Services } from './services.ts';

/** Between two looks on behalf of the same caller, in milliseconds. */
const pause = 60_000;

export class BlockRefresh {
  readonly #services: Omit<Services, 'blocks'>;
  readonly #lookedAt = new Map<string, number>();

  constructor(services: Omit<Services, 'blocks'>) {
    this.#services = services;
  }

  /** Never throws, and nobody waits for it: what goes wrong stands in the log. */
  afterLogin(caller: Caller): void {
    this.#refresh(caller).catch((error: unknown) => {
      this.#services.log(
        `cannot look for new VMs: ${error instanceof Error ? error.message : String(error)}`,
      );
    });
  }

  async #refresh(caller: Caller): Promise<void> {
    const { paths, aws, names, log } = this.#services;
    const written = writtenNames(paths);
    const userConfig = this.#includingConfig(written.includedFrom);
    if (userConfig === undefined) return;
    const settings = loadSettings(paths, {});
    const key = scopeOf({ caller, settings: elsewhere(settings) });
    const { listedAt = 0 } = listCached(names.cache, { caller, settings });
    if (Math.abs(performance.now() - (this.#lookedAt.get(key) ?? Number.NEGATIVE_INFINITY)) < pause) return;
    if (Math.abs(Date.now() - listedAt) < pause) return;
    this.#lookedAt.set(key, performance.now());
    const { vms } = await listVms(aws, names.cache, { caller, settings, approved: [] });
    const own = [...vms].filter(([name, { found }]) => found === 'tag' && !settings.vms.includes(name));
    const added = own.map(([name]) => name).filter((name) => !written.all.has(name));
    if (added.length === 0) return;
    // Only added to: what is written may be another caller's.
    const found = new Map([...written.all, ...added].map((name) => [name, { found: 'tag' as const }]));
    const plan = await planBlocks({
      paths,
      settings,
      userConfig,
      withSystem: userConfig.path === standardPath(),
      found,
      named: [],
      approve: async () => false,
    });
    const change = planWriting(paths, userConfig, plan.text);
    if (change.user.before !== change.user.after) return;
    carryOut(change);
    const fresh = added.filter((name) => !plan.leftOut.has(name));
    if (fresh.length > 0) log(`new VMs in ssh_config: ${fresh.join(', ')}`);
  }

  /** The file with our Include, as it is now; undefined where that is no longer there. */
  #includingConfig(path: string | undefined): UserConfig | undefined {
    const { paths } = this.#services;
    if (path === undefined) return undefined;
    const config = readUserConfig(path);
    return inspectInclude(config.bytes, quoteInclude(paths.sshConfig), paths.sshConfig).inPlace
      ? config
      : undefined;
  }
}

function standardPath(): string | undefined {
  try {
    return userConfigPath(undefined);
  } catch {
    // HOME is another than ssh's.
    return undefined;
  }
}
