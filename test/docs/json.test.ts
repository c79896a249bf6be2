/** docs/json.md: every command that prints JSON is run, and its output has the documented fields and types. */
import assert from 'node:assert/strict';
import { chmodSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { Command } from '../../src/cli/command.ts';
import { commands } from '../../src/commands/table.ts';
import { type DebugWorld, makeDebugWorld } from '../ci/debug-world.ts';
import { makeKey } from '../keys/key-lines.ts';
import { type KeyWorld, makeKeyWorld } from '../keys/vm/key-world.ts';
import type { World } from '../openssh/world.ts';
import { codeWords, pageText, section, tableRows } from './pages.ts';

const page = 'docs/json.md';
const headings = [...pageText(page).matchAll(/^## `mint-ssh (.+)`$/gm)].map(([, words = '']) => words);

/** Commands whose output has the table of another one, by that one. */
const alsoPrintedBy: Readonly<Record<string, readonly string[]>> = {
  'hosts list --json': ['hosts show', 'hosts accept'],
  'keys list --json': ['keys show', 'keys create', 'keys import'],
  'debug list --json': ['debug reap'],
  'debug open --format json': ['job run'],
};

const isTime = (value: unknown) =>
  typeof value === 'string' && /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/.test(value);

const types: Readonly<Record<string, (value: unknown) => boolean>> = {
  string: (value) => typeof value === 'string',
  number: (value) => typeof value === 'number',
  boolean: (value) => typeof value === 'boolean',
  time: isTime,
  'VM time': (value) => typeof value === 'string' && /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ?$/.test(value),
  object: (value) => typeof value === 'object' && !Array.isArray(value),
  list: (value) => Array.isArray(value),
  'list of string': (value) => Array.isArray(value) && value.every((each) => typeof each === 'string'),
};

interface Field {
  readonly name: string;
  readonly type: string;
}

function documented(heading: string): Field[] {
  return tableRows(section(page, `## \`mint-ssh ${heading}\``)).map(([field = '', type = '']) => ({
    name: codeWords(field)[0] ?? '',
    type,
  }));
}

/** Checks one object, and those in it, against the fields below `prefix`. */
function check(value: unknown, fields: readonly Field[], prefix: string): void {
  assert.ok(typeof value === 'object' && value !== null, prefix);
  const here = fields.filter(
    ({ name }) => name.startsWith(prefix) && !/[.[]/.test(name.slice(prefix.length)),
  );
  assert.deepEqual(
    Object.keys(value),
    here.map(({ name }) => name.slice(prefix.length)),
    prefix,
  );
  for (const { name, type } of here) {
    const key = name.slice(prefix.length);
    const found = (value as Record<string, unknown>)[key];
    assert.match(key, /^[a-z0-9]+(?:_[a-z0-9]+)*$/);
    assert.equal(/time/.test(type), key.endsWith('_at'), `${name}: a time ends in _at`);
    const [, plain = ''] = /^(.*?)(?: or null)?$/.exec(type) ?? [];
    if (found === null) assert.match(type, / or null$/, name);
    else assert.ok(types[plain]?.(found), `${name} is not ${type}: ${JSON.stringify(found)}`);
    const below = Array.isArray(found) ? `${name}[].` : `${name}.`;
    if (!fields.some((field) => field.name.startsWith(below)) || found === null) continue;
    for (const each of Array.isArray(found) ? found : [found]) check(each, fields, below);
  }
}

describe(page, { timeout: 600_000 }, () => {
  let vms: KeyWorld;
  let world: World;
  before(async () => {
    vms = await makeKeyWorld(['dev']);
    ({ world } = vms);
    assert.equal((await world.ssh('dev', 'true')).status, 0);
  });
  let debug: DebugWorld;
  before(async () => {
    debug = await makeDebugWorld();
  });
  after(async () => {
    await vms.end();
    // The agent does not stop while a job is open.
    await debug.world.mint('job', 'end', 'first');
    await debug.end();
  });

  const tested = new Set<string>();
  /** Runs a command and checks what it prints; `rows` is how many objects there have to be at least. */
  async function prints(
    heading: string,
    args: readonly string[],
    status = 0,
    at = world,
  ): Promise<readonly unknown[]> {
    tested.add(heading);
    const result = await at.mint(...args);
    assert.equal(result.status, status, result.stderr);
    const value: unknown = JSON.parse(result.stdout);
    const rows = Array.isArray(value) ? value : [value];
    for (const row of rows) check(row, documented(heading), '');
    return rows;
  }
  const json = (words: string, ...more: readonly string[]) =>
    prints(`${words} --json`, [...words.split(' '), ...more, '--json']);
  const like = (heading: string, ...args: readonly string[]) => prints(heading, [...args, '--json']);

  test('vms, doctor and agent status', async () => {
    assert.ok((await json('vms')).length > 1);
    assert.ok((await json('doctor', 'dev', '--file', world.sshConfigFile)).length > 5);
    await json('agent status');
    const none = await world.mint('agent', 'status', '--json', '--config-dir', join(world.directory, 'none'));
    assert.deepEqual([none.status, JSON.parse(none.stdout)], [1, null]);
  });

  test('hosts', async () => {
    assert.equal((await json('hosts list')).length, 1);
    await like('hosts list --json', 'hosts', 'show', 'dev');
    assert.ok((await json('hosts verify')).length > 0);
    const [key] = (await json('hosts list')) as { fingerprint: string }[];
    await like('hosts list --json', 'hosts', 'accept', 'dev', key?.fingerprint ?? '');
    await json('hosts forget', 'dev');
  });

  test('key', async () => {
    const line = makeKey(world.directory, 'phone', '-t', 'ed25519');
    const [added] = (await json('key add', 'dev', line, '--expires', '2w')) as { fingerprint: string }[];
    assert.equal((await json('key list', 'dev')).length, 1);
    await json('key remove', 'dev', added?.fingerprint ?? '');
  });

  test('keys', async () => {
    const list = 'keys list --json';
    await like(list, 'keys', 'create', 'lab', '--aws');
    const attached = await world.mint('keys', 'attach', 'lab', 'dev');
    assert.equal(attached.status, 0, attached.stderr);
    await like(list, 'keys', 'show', 'lab');
    makeKey(world.directory, 'mine', '-t', 'ed25519');
    await like(list, 'keys', 'import', 'mine', '--key-file', join(world.directory, 'mine'));
    // A key that others can read is listed with its problem.
    chmodSync(join(world.configDir, 'keys', 'mine'), 0o644);
    const rows = (await prints(list, ['keys', 'list', '--json'], 3)) as {
      profile: string;
      problem: string | null;
      vms: unknown[];
    }[];
    assert.deepEqual(
      rows.map(({ profile, problem, vms }) => [profile, problem === null, vms.length]),
      [
        ['lab', true, 1],
        ['mine', false, 0],
      ],
    );
  });

  test('job and debug', async () => {
    const at = (heading: string, ...args: readonly string[]) => prints(heading, args, 0, debug.world);
    await at('job begin --format json', 'job', 'begin', 'first', '--host-key', '--format', 'json');
    await debug.begin('build', '--host-key');
    assert.equal((await at('job list --json', 'job', 'list', '--json')).length, 2);
    const holder = debug.open('build', 'web');
    const block = await debug.block(holder);
    tested.add('debug open --format json');
    check(block, documented('debug open --format json'), '');
    assert.equal((await at('debug list --json', 'debug', 'list', '--json')).length, 1);
    await at('debug list --json', 'debug', 'reap', '--json', '--destroy', debug.destroy);
    holder.kill('SIGTERM');
    await holder.done;
  });

  test('has a section for each command that prints JSON, and each section is tested', async () => {
    assert.deepEqual([...tested].sort(), [...headings].sort());
    const known = new Set([...headings, ...Object.values(alsoPrintedBy).flat()]);
    for (const [word, { load }] of Object.entries(commands)) {
      const { command }: { command: Command } = await load();
      const subcommands = (command.words ?? []).flatMap(([form, , options]) => {
        const [subcommand] = form.split(' ');
        const { values = [] } = command.options['format'] ?? {};
        const formats = Array.isArray(values)
          ? values
          : ((values as Record<string, string[]>)[subcommand ?? ''] ?? []);
        const isFormat = options.includes('format') && formats.includes('json');
        if (isFormat) return [`${word} ${subcommand} --format json`];
        return options.includes('json') ? [`${word} ${subcommand} --json`] : [];
      });
      const whole = command.words === undefined && 'json' in command.options ? [`${word} --json`] : [];
      for (const printing of [...subcommands, ...whole]) {
        const isKnown = known.has(printing) || known.has(printing.replace(/ --.*$/, ''));
        assert.ok(isKnown, `${page} has no section for mint-ssh ${printing}`);
      }
    }
  });

  test('an error is on stderr with its code, and stdout is empty', async () => {
    const failed = await world.mint('hosts', 'show', 'unknown', '--json');
    assert.deepEqual([failed.status, failed.stdout], [1, '']);
    assert.match(failed.stderr, /^mint-ssh: error: .+ \(vm-not-found\)\nmint-ssh: hint: .+\n$/);
  });

  test('vms with credentials that AWS refuses prints what is known, and fails', async () => {
    assert.equal((await world.mint('vms', '--refresh')).status, 0);
    const env = { AWS_ACCESS_KEY_ID: 'AKIAWRONG' };
    const refused = await world.start(world.program, ['vms', '--json', '--refresh'], { env }).done;
    assert.equal(refused.status, 1);
    assert.match(refused.stderr, /^mint-ssh: error: .*\(aws-credentials\)\nmint-ssh: hint: /m);
    assert.ok(Array.isArray(JSON.parse(refused.stdout)));
  });
});
