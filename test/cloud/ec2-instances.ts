/** Which instances a request to EC2 means, a page at a time, and what starting them does. */
import { createHash } from 'node:crypto';
import { instancesWithIds } from '../../src/demo/ec2.ts';
import { isFailure, listed } from '../../src/demo/ec2-xml.ts';
import type { Instance } from '../../src/demo/instance.ts';
import { type WireFailure, wireFailure } from '../../src/demo/wire-failure.ts';

interface Page {
  readonly page: readonly Instance[];
  readonly nextToken: string | undefined;
}

interface Change {
  readonly id: string;
  readonly from: Instance['state'];
  readonly to: Instance['state'];
}

/** The instances of `all` that `InstanceId.n` and `Filter.n` name, from where `NextToken` says. */
export function wantedInstances(
  form: URLSearchParams,
  all: readonly Instance[],
  pageSize: number,
): Page | WireFailure {
  const ids = listed(form, 'InstanceId');
  const byId = ids.length === 0 ? all : instancesWithIds(ids, all);
  if (isFailure(byId)) return byId;
  const matching = filtered(form, byId);
  if (isFailure(matching)) return matching;
  if (ids.length > 0 && (form.has('MaxResults') || form.has('NextToken'))) {
    const message = 'The parameter instancesSet cannot be used with the parameter maxResults';
    return wireFailure('InvalidParameterCombination', message);
  }
  const most = Number(form.get('MaxResults') ?? 1000);
  if (!Number.isInteger(most) || most < 5 || most > 1000) {
    return wireFailure(
      'InvalidParameterValue',
      'Value for parameter maxResults is invalid. Expecting 5 to 1000.',
    );
  }
  const begin = tokenOffset(form);
  if (begin === undefined) return wireFailure('InvalidParameterValue', 'The token is invalid or expired');
  const end = ids.length > 0 ? matching.length : begin + Math.min(most, pageSize);
  return {
    page: matching.slice(begin, end),
    nextToken: end < matching.length ? token(form, end) : undefined,
  };
}

/** Every filter has to match, with any of its values; `*` and `?` stand for others unless a backslash is before. */
function filtered(form: URLSearchParams, all: readonly Instance[]): readonly Instance[] | WireFailure {
  let left = all;
  for (let at = 1; form.has(`Filter.${at}.Name`); at++) {
    const name = form.get(`Filter.${at}.Name`) ?? '';
    const patterns = listed(form, `Filter.${at}.Value`).map(pattern);
    if (patterns.length > 200) {
      return wireFailure('InvalidParameterValue', 'The maximum number of filter values is 200');
    }
    const values = valuesOf(name);
    if (values === undefined) {
      return wireFailure('InvalidParameterValue', `The filter '${name}' is invalid`);
    }
    left = left.filter((instance) =>
      values(instance).some((value) => patterns.some((one) => one.test(value))),
    );
  }
  return left;
}

function valuesOf(filter: string): ((instance: Instance) => readonly string[]) | undefined {
  if (filter === 'instance-id') return ({ id }) => [id];
  if (filter === 'instance-state-name') return ({ state }) => [state];
  if (filter === 'key-name') return ({ keyName }) => (keyName === undefined ? [] : [keyName]);
  if (filter === 'tag-key') return ({ tags = {} }) => Object.keys(tags);
  if (!filter.startsWith('tag:')) return undefined;
  const key = filter.slice('tag:'.length);
  return ({ tags = {} }) => (Object.hasOwn(tags, key) ? [tags[key] ?? ''] : []);
}

function pattern(value: string): RegExp {
  const source = value.replace(/\\([\s\S])|[\s\S]/g, (one, escaped?: string) => {
    if (escaped === undefined && one === '*') return '[^]*';
    if (escaped === undefined && one === '?') return '[^]';
    return (escaped ?? one).replace(/[$()*+./?[\\\]^{|}]/, '\\$&');
  });
  return new RegExp(`^${source}$`, 'u');
}

/** A token is good for the very same question only. */
function token(form: URLSearchParams, offset: number): string {
  return Buffer.from(`${offset}:${question(form)}`).toString('base64url');
}

function tokenOffset(form: URLSearchParams): number | undefined {
  const given = form.get('NextToken');
  if (given === null) return 0;
  const [offset, asked] = Buffer.from(given, 'base64url').toString('latin1').split(':');
  return asked === question(form) && /^\d+$/.test(offset ?? '') ? Number(offset) : undefined;
}

function question(form: URLSearchParams): string {
  const filters = [...form].filter(([name]) => name.startsWith('Filter.'));
  return createHash('sha256').update(JSON.stringify(filters)).digest('hex').slice(0, 16);
}

/** Stopped instances become `pending`, and `running` when their time has come; running ones stay as they are. */
export function startInstances(
  wanted: readonly Instance[],
  instances: Map<string, Instance>,
  timers: Set<NodeJS.Timeout>,
): Change[] | WireFailure {
  if (wanted.length === 0) return wireFailure('MissingParameter', 'The request must contain InstanceId');
  const wrong = wanted.find(({ state }) => !['stopped', 'pending', 'running'].includes(state));
  if (wrong !== undefined) {
    const message = `The instance '${wrong.id}' is not in a state from which it can be started.`;
    return wireFailure('IncorrectInstanceState', message);
  }
  return wanted.map((instance): Change => {
    const { id, state, start } = instance;
    if (state !== 'stopped') return { id, from: state, to: state };
    instances.set(id, { ...instance, state: 'pending', launchTime: Date.now() });
    const timer = setTimeout(() => {
      timers.delete(timer);
      const now = instances.get(id);
      if (now?.state !== 'pending') return;
      const publicIp = start?.publicIp;
      instances.set(id, { ...now, state: 'running', ...(publicIp === undefined ? {} : { publicIp }) });
    }, start?.milliseconds ?? 0).unref();
    timers.add(timer);
    return { id, from: state, to: 'pending' };
  });
}
