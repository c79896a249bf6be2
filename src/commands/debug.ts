/** `mint-ssh debug`: a way into a failed VM that closes by itself. */

import { buildLogBlock, parseLogFormat } from '../ci/build-log.ts';
import { giveDebugAccess, locatedJob } from '../ci/debug-access.ts';
import { onEndSignal } from '../ci/end-signal.ts';
import { leaseListJson, leaseTableText } from '../ci/lease-list.ts';
import { tableName } from '../ci/lease-store.ts';
import { makeLeaseTable } from '../ci/lease-table.ts';
import type { Command, GlobalOptions, Invocation } from '../cli/command.ts';
import { hint, print, printable, say } from '../cli/terminal.ts';
import { forbidCoreFiles } from '../platform/hardening.ts';
import { resolvePaths } from '../platform/paths.ts';
import { loadSettings } from '../settings/settings.ts';
import { elsewhere } from '../vms/list-vms.ts';
import { end, reap } from './debug-end.ts';
import { accessOptions, awsAccess, debugRequest, leaseTable } from './debug-options.ts';
import { type DebugWords, debugMisused, debugUsage, withStore } from './debug-request.ts';

export const command: Command = {
  usage: debugUsage,
  help: `Lets a person into the VM of a failed job for at most 30 minutes, and destroys it then. Nothing opens it but
this command and \`job run --debug-on-failure\`. The end is armed on the VM before anyone is let in; the process that
opened it holds it and destroys the VM when the time has come, when the person inside says so (the block that is printed
names the command), with \`debug end\`, or when it gets a signal; and \`debug reap\`, from cron on any machine, destroys
what both have missed. One VM of a project is open at a time.

--destroy says how: terminate or stop an EC2 --instance, or command:'…', which runs here with MINT_VM, MINT_HOST,
MINT_PORT, MINT_USER, MINT_PROJECT and MINT_LEASE in its environment; it may run again where it was cut short.

  mint-ssh debug open build-17 --project web --authorize ~/anna.keys --instance i-0123456789abcdef0
  mint-ssh debug reap --leases dynamodb:mint-leases`,
  words: [
    ['open NAME', 'let a person into the VM of the job NAME, and hold it until it ends'],
    ['list', 'the VMs that are open, or not known to be destroyed'],
    ['end ID', 'end it now'],
    ['reap', 'destroy the VMs whose time is over'],
    ['leases init', 'make the table that --leases names'],
  ],
  options: {
    ...accessOptions,
    format: { type: 'string', value: 'FORM', description: 'open: text, github, gitlab or json' },
    json: { type: 'boolean', description: 'list, reap: print JSON' },
  },
  run,
};

interface Action {
  readonly run: (request: DebugWords) => Promise<number>;
  readonly takes: readonly string[];
}

const actions: Readonly<Record<string, Action>> = {
  open: { run: open, takes: ['format', ...Object.keys(accessOptions)] },
  list: { run: list, takes: ['leases', 'json'] },
  end: { run: end, takes: ['leases', 'destroy'] },
  reap: { run: reap, takes: ['leases', 'destroy', 'json'] },
  leases: { run: leases, takes: ['leases'] },
};

async function run(invocation: Invocation): Promise<number> {
  forbidCoreFiles({ wait: true });
  const { positionals, values, rest, globals } = invocation;
  const [word = '', ...words] = positionals;
  const action = Object.hasOwn(actions, word) ? actions[word] : undefined;
  if (action === undefined || rest !== undefined) {
    throw debugMisused(
      word === '' ? 'open, list, end, reap or leases?' : `debug cannot "${printable(word.slice(0, 40))}"`,
    );
  }
  const known = new Set([...action.takes, 'config-dir', 'profile', 'region', 'verbose', 'timing']);
  const stray = Object.keys(values).find((name) => !known.has(name));
  if (stray !== undefined) throw debugMisused(`--${stray} does not go with ${word}`);
  const paths = resolvePaths({ configDir: globals.configDir });
  const settings = loadSettings(paths, flagsOf(globals));
  return await action.run({ ...invocation, paths, settings, words });
}

async function open({ paths, settings, words, values, globals }: DebugWords): Promise<number> {
  const [name, ...more] = words;
  if (name === undefined || more.length > 0) throw debugMisused('the VM of which job? debug open NAME');
  const job = locatedJob(paths, name);
  const format = parseLogFormat(values['format'] as string | undefined);
  const request = await debugRequest(values, job);
  const vm = settings.named(job.name);
  const { signal, dispose } = onEndSignal();
  try {
    await withStore({ paths, values, at: vm }, async ({ store, interval }, access) => {
      const announce = (announcement: Parameters<typeof buildLogBlock>[0]) =>
        print(buildLogBlock(announcement, format, Date.now()));
      const login = { paths, vm, globals };
      await giveDebugAccess(request, {
        login,
        access,
        store,
        interval,
        signal,
        word: 'debug open',
        announce,
      });
    });
    return 0;
  } finally {
    dispose();
  }
}

async function list({ paths, settings, words, values }: DebugWords): Promise<number> {
  if (words.length > 0) throw debugMisused('list takes no name');
  const open = await withStore({ paths, values, at: elsewhere(settings) }, ({ store }) => store.list());
  if (values['json'] === true) print(leaseListJson(open, Date.now()));
  else if (open.length === 0) say('no VM is open for debugging');
  else print(leaseTableText(open, Date.now()));
  return 0;
}

async function leases({ settings, words, values }: DebugWords): Promise<number> {
  if (words.join(' ') !== 'init') throw debugMisused('leases init is all there is');
  const name = tableName(values['leases'] as string | undefined);
  if (name === undefined) throw debugMisused('which table? --leases dynamodb:TABLE');
  const access = awsAccess(elsewhere(settings));
  try {
    const { isNew, withoutTtl } = await makeLeaseTable(leaseTable(name, access));
    say(isNew ? `the table ${name} is made` : `the table ${name} was there already`);
    if (withoutTtl !== undefined) {
      say(`note: old items stay in it, because its time to live could not be set: ${withoutTtl}`);
      hint('leases work without that');
    }
  } finally {
    await access.aws.close();
  }
  return 0;
}

function flagsOf({ profile, region }: GlobalOptions): {
  profile: string | undefined;
  region: string | undefined;
} {
  return { profile, region };
}
