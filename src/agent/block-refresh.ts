/**
 * Adds blocks for the caller's new VMs after a login to one of the caller's own VMs, so that no command is needed. Only
 * our own file is written, and only while the user's config includes it.
 */
import type { Caller } from '../platform/caller.ts';
import { writtenNames } from '../settings/approved-names.ts';
import { loadSettings } from '../settings/settings.ts';
import { carryOut, planWriting } from '../ssh-config/apply.ts';
import { includingConfig } from '../ssh-config/installed-include.ts';
import { planBlocks } from '../vms/block-plan.ts';
import { elsewhere, listCached, listVms } from '../vms/list-vms.ts';
import { scopeOf } from '../vms/names.ts';
import type { AgentContext } from './context.ts';

/** The least time between two requests for the same caller. */
const minIntervalMs = 60_000;

export class BlockRefresh {
  readonly #context: AgentContext;
  readonly #listedAt = new Map<string, number>();

  constructor(context: AgentContext) {
    this.#context = context;
  }

  /** Runs in the background. Errors go to the log. */
  afterLogin(caller: Caller): void {
    this.#refresh(caller).catch((error: unknown) => {
      this.#context.log(`cannot look for new VMs: ${error instanceof Error ? error.message : String(error)}`);
    });
  }

  async #refresh(caller: Caller): Promise<void> {
    const { paths, aws, names, log } = this.#context;
    const written = writtenNames(paths);
    const including = includingConfig(paths);
    if (including === undefined) return;
    const settings = loadSettings(paths, {});
    const key = scopeOf({ caller, settings: elsewhere(settings) });
    const { listedAt = 0 } = listCached(names.cache, { caller, settings });
    if (Math.abs(performance.now() - (this.#listedAt.get(key) ?? Number.NEGATIVE_INFINITY)) < minIntervalMs)
      return;
    if (Math.abs(Date.now() - listedAt) < minIntervalMs) return;
    this.#listedAt.set(key, performance.now());
    const { vms } = await listVms(aws, names.cache, { caller, settings, approved: [] });
    const own = [...vms].filter(([name, { found }]) => found === 'tag' && !settings.vms.includes(name));
    const added = own.map(([name]) => name).filter((name) => !written.all.has(name));
    if (added.length === 0) return;
    // Blocks are only added: those that exist may be another caller's.
    const found = new Map(
      [...written.all, ...added].map((name) => [name, vms.get(name) ?? { found: 'tag' as const }]),
    );
    const plan = await planBlocks({
      paths,
      settings,
      ...including,
      found,
      named: [],
      approve: async () => false,
    });
    const change = planWriting(paths, including.userConfig, plan);
    if (change.user.before !== change.user.after) return;
    carryOut(change);
    const fresh = added.filter((name) => !plan.leftOut.has(name));
    if (fresh.length > 0) log(`new VMs in ssh_config: ${fresh.join(', ')}`);
  }
}
