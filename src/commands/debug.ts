/** `mint-ssh debug`: temporary access to the VM of a failed job, which is destroyed at the end. */
import { buildLogBlock, logFormats, parseLogFormat } from '../ci/build-log.ts';
import { parseDestruction } from '../ci/destruction.ts';
import { giveDebugAccess, locatedJob } from '../ci/holder.ts';
import { onEndSignal } from '../ci/job-run.ts';
import { parseLeaseId } from '../ci/leases.ts';
import { endNow, leaseJson, leaseTable, reapOverdue, sayUnreadable } from '../ci/reaper.ts';
import { checkSubcommand } from '../cli/arguments.ts';
import type { Command, Invocation } from '../cli/command.ts';
import { print, printJson, printOrFail, say } from '../cli/terminal.ts';
import { MintError } from '../errors.ts';
import { forbidCoreFiles } from '../platform/hardening.ts';
import { type Paths, resolvePaths } from '../platform/paths.ts';
import { loadSettings, type Settings } from '../settings/settings.ts';
import { elsewhere } from '../vms/list-vms.ts';
import { accessOptions, debugRequest, withStore } from './debug-options.ts';

const usage = 'debug [open NAME --project P | list | end ID | reap]';

export const command: Command = {
  usage,
  help: `Opens the VM of a failed job to a visitor for at most 30 minutes, then destroys it. Only this command and
\`job run --debug-on-failure\` open it. The end is armed on the VM before any key is authorized. The process that
opened it destroys the VM when the time is over, when the VM is turned off, at \`debug end\`, or when it gets a signal, and
tries until EC2 confirms that. \`debug reap\`, from cron on any machine, destroys what is overdue. One VM of a project is
open at a time.

EC2 instances (--instance) are terminated. Other VMs are destroyed by --destroy command:'…', which runs here with
MINT_VM, MINT_HOST, MINT_PORT, MINT_USER, MINT_PROJECT and MINT_LEASE in its environment; it may run more than once.

  mint-ssh debug open build-17 --project web --authorize ~/anna.keys --instance i-0123456789abcdef0
  mint-ssh debug reap --leases dynamodb:mint-leases`,
  words: [
    [
      'open NAME',
      'open the VM of the job NAME; runs until the access ends',
      ['format', ...Object.keys(accessOptions)],
    ],
    ['list', 'list the VMs that are open or overdue', ['leases', 'json']],
    ['end ID', 'end the access now', ['leases', 'destroy']],
    ['reap', 'destroy the VMs whose time has expired', ['leases', 'destroy', 'json']],
  ],
  options: {
    ...accessOptions,
    format: { type: 'string', value: 'FORM', description: 'the form of the output', values: logFormats },
    json: { type: 'boolean', description: 'print JSON: see docs/json.md' },
  },
  run,
};

interface DebugInvocation extends Invocation {
  readonly paths: Paths;
  readonly settings: Settings;
  /** After the subcommand. */
  readonly words: readonly string[];
}

type Action = (invocation: DebugInvocation) => Promise<number>;

const actions: Readonly<Record<string, Action>> = { open, list, end, reap };

async function run(invocation: Invocation): Promise<number> {
  forbidCoreFiles({ wait: true });
  const { positionals, values, rest, globals } = invocation;
  const [word, ...words] = positionals;
  if (word === undefined) throw misused('missing subcommand');
  checkSubcommand(command, word, values);
  const action = actions[word];
  if (action === undefined) throw misused(`unknown command: debug ${word}`);
  if (rest !== undefined) throw misused(`debug ${word} takes nothing after --`);
  const paths = resolvePaths({ configDir: globals.configDir });
  const settings = loadSettings(paths, { profile: globals.profile, region: globals.region });
  return await action({ ...invocation, paths, settings, words });
}

async function open({ paths, settings, words, values, globals }: DebugInvocation): Promise<number> {
  const [name, ...more] = words;
  if (name === undefined || more.length > 0) throw misused('debug open takes the name of one job');
  const job = locatedJob(paths, name);
  const format = parseLogFormat(values['format'] as string | undefined);
  const request = await debugRequest(values, job);
  const vm = settings.named(job.name);
  const { signal, dispose } = onEndSignal();
  try {
    await withStore(values, paths, vm, (store, access) =>
      giveDebugAccess(request, {
        login: { paths, vm, globals },
        access,
        store,
        signal,
        word: 'debug open',
        announce: (announcement) => printOrFail(buildLogBlock(announcement, format, Date.now())),
      }),
    );
    return 0;
  } finally {
    dispose();
  }
}

async function list({ paths, settings, words, values }: DebugInvocation): Promise<number> {
  if (words.length > 0) throw misused('debug list takes no argument');
  const records = await withStore(values, paths, elsewhere(settings), (store) => store.readAll());
  const leases = records.flatMap((record) => record.leases);
  if (values['json'] === true) printJson(leaseJson(leases, Date.now()));
  else if (leases.length === 0) say('no VM has debug access');
  else print(leaseTable(leases, Date.now()));
  const failure = sayUnreadable(records);
  if (failure !== undefined) throw failure;
  return 0;
}

async function end({ paths, settings, words, values }: DebugInvocation): Promise<number> {
  const [given, ...more] = words;
  if (given === undefined || more.length > 0) throw misused('debug end takes the ID of one lease');
  const id = parseLeaseId(given);
  const command = commandOf(values);
  const at = elsewhere(settings);
  await withStore(values, paths, at, (store) => endNow(id, { paths, store, profile: at.profile, command }));
  say('the VM is destroyed');
  return 0;
}

async function reap({ paths, settings, words, values }: DebugInvocation): Promise<number> {
  if (words.length > 0) throw misused('debug reap takes no argument');
  const command = commandOf(values);
  const at = elsewhere(settings);
  const { ended, failure } = await withStore(values, paths, at, (store) =>
    reapOverdue({ paths, store, profile: at.profile, command }),
  );
  if (values['json'] === true) printJson(leaseJson(ended, Date.now()));
  else for (const { vm, id, holder } of ended) say(`${vm} (${id}) is destroyed; its holder was ${holder}`);
  if (failure !== undefined) throw failure;
  return 0;
}

/** For VMs whose destruction only their holder knew. */
function commandOf(values: Invocation['values']): string | undefined {
  const given = values['destroy'] as string | undefined;
  if (given === undefined) return undefined;
  const { kind, command: line } = parseDestruction(given, undefined);
  if (kind === 'command') return line;
  throw misused("--destroy takes command:'…' here; instances are terminated without it");
}

function misused(message: string): MintError {
  return new MintError('usage', message, { hint: `usage: mint-ssh ${usage}` });
}
