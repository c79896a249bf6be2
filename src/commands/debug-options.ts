/** The options of debug access, which `debug` and `job run` share, and what they come to. */
import { AwsWorkers } from '../aws/workers.ts';
import type { DebugRequest, Located } from '../ci/debug-access.ts';
import { type AwsAccess, type Destruction, parseDestruction } from '../ci/destruction.ts';
import type { LeaseTable } from '../ci/dynamo-leases.ts';
import { type LeaseStore, openLeases, tableName } from '../ci/lease-store.ts';
import { projectName } from '../ci/project.ts';
import { parseTtl } from '../ci/ttl.ts';
import { visitorsFrom } from '../ci/visitor.ts';
import type { Invocation, Options } from '../cli/command.ts';
import { MintError } from '../errors.ts';
import { callerEnvironment } from '../platform/environment.ts';
import type { Paths } from '../platform/paths.ts';
import type { VmSettings } from '../settings/settings.ts';

export const leaseOptions = {
  leases: {
    type: 'string',
    value: 'dynamodb:TABLE',
    description: 'keep leases in this table, for many machines; else in files, for this one',
  },
} as const satisfies Options;

export const destroyOptions = {
  destroy: {
    type: 'string',
    value: 'HOW',
    description: "terminate, stop, or command:'…' for a VM that is none of EC2's",
  },
} as const satisfies Options;

export const accessOptions = {
  project: { type: 'string', value: 'NAME', description: 'whose VM it is; one at a time has debug access' },
  ttl: {
    type: 'string',
    value: 'TIME',
    description: 'how long, such as 10m; 30m is the most, and the default',
  },
  authorize: {
    type: 'string',
    value: 'KEY|FILE',
    multiple: true,
    description:
      'let in whoever has these keys: a public key in quotes, or a file of them as code hosts serve it',
  },
  'print-key': {
    type: 'boolean',
    description: 'make a key for this lease alone, and print it with the rest',
  },
  forwarding: { type: 'boolean', description: 'the person inside may forward ports' },
  instance: {
    type: 'string',
    value: 'ID',
    description: "the VM's EC2 instance, which --destroy terminates or stops",
  },
  ...destroyOptions,
  'end-command': {
    type: 'string',
    value: 'COMMAND',
    description: 'what ends the VM, run there as root, where neither systemd nor shutdown does',
  },
  ...leaseOptions,
} as const satisfies Options;

type Values = Invocation['values'];

/** Checked as a whole before anything happens. @throws MintError `usage` and those of the keys */
export async function debugRequest(values: Values, job: Located): Promise<DebugRequest> {
  const word = (name: string) => values[name] as string | undefined;
  const given = word('project');
  if (given === undefined)
    throw new MintError('usage', 'which project is it for?', { hint: '--project NAME' });
  const project = projectName(given);
  const ttl = parseTtl(word('ttl'));
  const destruction: Destruction = parseDestruction(word('destroy'), word('instance'));
  const table = tableName(word('leases'));
  const authorize = (values['authorize'] ?? []) as readonly string[];
  const visitors = await visitorsFrom(authorize, values['print-key'] === true, `mint-debug-${job.name}`);
  return {
    project,
    job,
    ttl,
    visitors,
    destruction,
    endCommand: word('end-command'),
    forwarding: values['forwarding'] === true,
    endOptions: table === undefined ? '' : ` --leases dynamodb:${table}`,
  };
}

/** AWS as this process's environment reaches it. Whoever opens it closes it: `access.aws.close()`. */
export function awsAccess({ profile, region }: Pick<VmSettings, 'profile' | 'region'>): AwsAccess {
  return { aws: new AwsWorkers(), caller: { environment: callerEnvironment(process.env) }, profile, region };
}

export interface OpenedStore {
  readonly store: LeaseStore;
  /** Between two looks into it, in milliseconds. */
  readonly interval: number;
}

/** @throws MintError `usage` */
export function openStore(values: Values, paths: Paths, access: AwsAccess): OpenedStore {
  const name = tableName(values['leases'] as string | undefined);
  const table = name === undefined ? undefined : leaseTable(name, access);
  return { store: openLeases(paths, table), interval: table === undefined ? 1_000 : 5_000 };
}

export function leaseTable(name: string, { aws, caller, profile, region }: AwsAccess): LeaseTable {
  return { name, send: (call) => aws.table(caller, { profile, region, ...call }) };
}
