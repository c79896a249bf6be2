/** The options of debug access, which `debug open` and `job run` share. */
import { type AwsAccess, openAws, parseDestruction } from '../ci/destruction.ts';
import type { DebugRequest, LocatedJob } from '../ci/holder.ts';
import { DynamoLeases, FileLeases, parseTableName } from '../ci/lease-stores.ts';
import { type LeaseStore, projectName } from '../ci/leases.ts';
import { readVisitorKeys } from '../ci/visitor-keys.ts';
import type { Invocation, Options } from '../cli/command.ts';
import { printable } from '../cli/terminal.ts';
import { MintError } from '../errors.ts';
import type { Paths } from '../platform/paths.ts';

export const leaseOptions = {
  leases: {
    type: 'string',
    value: 'dynamodb:TABLE',
    description: 'keep leases in this table, for several machines, instead of in files, for this one',
  },
} as const satisfies Options;

export const destroyOptions = {
  destroy: {
    type: 'string',
    value: 'HOW',
    description: "command:'…' for a VM that is not an EC2 instance; terminate is the default for one",
  },
} as const satisfies Options;

export const accessOptions = {
  project: { type: 'string', value: 'NAME', description: 'one VM of a project has debug access at a time' },
  ttl: {
    type: 'string',
    value: 'TIME',
    description: 'how long, such as 10m; 30m is the maximum and the default',
  },
  authorize: {
    type: 'string',
    value: 'KEY|FILE',
    multiple: true,
    description: 'who may log in: a public key in quotes, or a file of them as code hosts serve it',
  },
  'print-key': { type: 'boolean', description: 'make a one-off key, and print it with the rest' },
  instance: { type: 'string', value: 'ID', description: "the VM's EC2 instance, which is terminated" },
  ...destroyOptions,
  'end-command': {
    type: 'string',
    value: 'COMMAND',
    description: 'what turns the VM off, run there as root, where neither systemd nor shutdown does',
  },
  ...leaseOptions,
} as const satisfies Options;

type Values = Invocation['values'];

/**
 * Checks all options of debug access before anything is changed.
 *
 * @throws MintError `usage`, and those of `readVisitorKeys`
 */
export async function debugRequest(values: Values, job: LocatedJob): Promise<DebugRequest> {
  const word = (name: string) => values[name] as string | undefined;
  const given = word('project');
  if (given === undefined) throw new MintError('usage', 'missing option: --project NAME');
  const project = projectName(given);
  const ttlSeconds = parseDuration('--ttl', word('ttl') ?? '30m', 30);
  const destruction = parseDestruction(word('destroy'), word('instance'));
  const table = parseTableName(word('leases'));
  const authorize = (values['authorize'] ?? []) as readonly string[];
  const visitors = await readVisitorKeys(authorize, values['print-key'] === true, `mint-debug-${job.name}`);
  const endOptions = table === undefined ? '' : ` --leases dynamodb:${table}`;
  return { project, job, ttlSeconds, visitors, destruction, endCommand: word('end-command'), endOptions };
}

/**
 * @param text such as `10m` or `90s`
 * @returns seconds
 * @throws MintError `usage` for anything else, and for more than `maxMinutes`
 */
export function parseDuration(option: string, text: string, maxMinutes: number): number {
  const [, count = '', unit = ''] = /^([1-9][0-9]{0,3})([ms])$/.exec(text) ?? [];
  const seconds = Number(count) * (unit === 'm' ? 60 : 1);
  if (seconds > 0 && seconds <= maxMinutes * 60) return seconds;
  throw new MintError('usage', `invalid ${option}: "${printable(text.slice(0, 40))}"`, {
    hint: `a number and m or s, ${maxMinutes}m at most: ${option} 10m`,
  });
}

/**
 * Calls `action` with AWS and the lease store of the options.
 *
 * @param at the profile and region
 * @throws MintError `usage`, and what `action` throws
 */
export async function withStore<T>(
  values: Values,
  paths: Paths,
  at: Parameters<typeof openAws>[0],
  action: (store: LeaseStore, access: AwsAccess) => Promise<T>,
): Promise<T> {
  const name = parseTableName(values['leases'] as string | undefined);
  const access = openAws(at);
  const { aws, caller, profile, region } = access;
  const store =
    name === undefined
      ? new FileLeases(paths)
      : new DynamoLeases({ name, send: (call) => aws.table(caller, { profile, region, ...call }) });
  try {
    return await action(store, access);
  } finally {
    await aws.close();
  }
}
