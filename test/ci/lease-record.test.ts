/** What a store keeps of a project's leases, and the decisions about them, without a store that others use as well. */
import assert from 'node:assert/strict';
import { statSync } from 'node:fs';
import { hostname, userInfo } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { FileLeases } from '../../src/ci/lease-stores.ts';
import {
  clockSkewMs,
  closeLease,
  destroyMs,
  formatLeases,
  freeAt,
  isProjectName,
  newLeaseId,
  parseLeaseId,
  parseLeases,
  projectName,
  requestEnd,
  takeLease,
  thisHolder,
  unreadableLeases,
} from '../../src/ci/leases.ts';
import { resolvePaths } from '../../src/platform/paths.ts';
import { isRegion } from '../../src/settings/region.ts';
import { ownDirectory, refusal } from '../platform/directory.ts';
import { lease, minute, noon } from './lease.ts';

function store(context: TestContext): FileLeases {
  return new FileLeases(resolvePaths({ configDir: join(ownDirectory(context), 'mint') }));
}

describe('a project', () => {
  test('is free five minutes for the destruction and two for the clocks after the end of its lease', () => {
    assert.equal(destroyMs, 5 * minute);
    assert.equal(clockSkewMs, 2 * minute);
    assert.equal(freeAt(lease('web')), noon + 37 * minute);
  });

  test('is taken until then, and then taken by the next, beside the old lease', async (context) => {
    const leases = store(context);
    const [first, second] = [lease('web'), lease('web')];
    assert.equal(await takeLease(leases, first, noon), undefined);
    assert.deepEqual(await takeLease(leases, second, freeAt(first) - 1), first);
    assert.deepEqual((await leases.read('web')).leases, [first]);
    assert.equal(await takeLease(leases, second, freeAt(first)), undefined);
    assert.deepEqual((await leases.read('web')).leases, [first, second]);
  });

  test('is taken again by its own lease, which replaces the one on record', async (context) => {
    const leases = store(context);
    const own = lease('web');
    await takeLease(leases, own, noon);
    assert.equal(await takeLease(leases, { ...own, port: 2222 }, noon), undefined);
    assert.deepEqual((await leases.read('web')).leases, [{ ...own, port: 2222 }]);
  });

  test('is not taken while something on record cannot be read', async (context) => {
    const leases = store(context);
    const bad = { ...lease('web'), vm: '$(reboot)' };
    await leases.update('web', () => ({ leases: [bad], result: undefined }));
    await assert.rejects(takeLease(leases, lease('web'), noon), { code: 'io-failed' });
    assert.equal(unreadableLeases('web').code, 'io-failed');
    assert.match(unreadableLeases('web').hint ?? '', /debug list/);
  });

  test('has at most a hundred leases that are overdue', async (context) => {
    const leases = store(context);
    const overdue = (count: number) =>
      Array.from({ length: count }, () => lease('web', { startedAt: 1, endsAt: 2 }));
    await leases.update('web', () => ({ leases: overdue(100), result: undefined }));
    await assert.rejects(takeLease(leases, lease('web'), noon), { code: 'io-failed', hint: /debug reap/ });
    assert.equal((await leases.read('web')).leases.length, 100);
    await leases.update('web', () => ({ leases: overdue(99), result: undefined }));
    assert.equal(await takeLease(leases, lease('web'), noon), undefined);
  });

  test('loses a lease that is closed, and no other; one that is to end is marked, and no other', async (context) => {
    const leases = store(context);
    const [first, second] = [lease('web', { endsAt: 2 }), lease('web')];
    await takeLease(leases, first, 1);
    await takeLease(leases, second, noon);
    await requestEnd(leases, second);
    assert.deepEqual((await leases.read('web')).leases, [first, { ...second, isToEnd: true }]);
    await closeLease(leases, lease('web'));
    assert.equal((await leases.read('web')).leases.length, 2);
    await closeLease(leases, first);
    assert.deepEqual((await leases.read('web')).leases, [{ ...second, isToEnd: true }]);
  });

  test('is not written where a lease that is not there is closed', async (context) => {
    const configDir = join(ownDirectory(context), 'mint');
    const leases = new FileLeases(resolvePaths({ configDir }));
    await takeLease(leases, lease('web'), noon);
    // A write replaces the file.
    const written = () => statSync(join(configDir, 'leases/web.json')).ino;
    const before = written();
    await closeLease(leases, lease('web'));
    assert.equal(written(), before);
  });
});

describe('names', () => {
  test('an id has 12 hexadecimal digits, and is new each time', () => {
    assert.match(newLeaseId(), /^[0-9a-f]{12}$/);
    assert.notEqual(newLeaseId(), newLeaseId());
    assert.equal(parseLeaseId('0123456789ab'), '0123456789ab');
    for (const text of [
      '',
      '0123456789a',
      '0123456789abc',
      'x0123456789ab',
      '0123456789ab\n',
      '0123456789AB',
      'g'.repeat(12),
    ])
      assert.throws(() => parseLeaseId(text), refusal('usage'), text);
  });

  test('a text that is refused is shown in part, and without its control characters', () => {
    for (const parse of [parseLeaseId, projectName]) {
      const shown = (text: string) => {
        try {
          return parse(text);
        } catch (error) {
          return (error as Error).message;
        }
      };
      assert.ok(shown('-\u001b').includes('"-\\u{1b}"'), shown('-\u001b'));
      assert.ok(shown(`-${'x'.repeat(100)}`).includes(`"-${'x'.repeat(39)}"`));
    }
  });

  test('the hint says what a valid text is', () => {
    assert.throws(() => parseLeaseId('x'), { code: 'usage', hint: /debug list/ });
    assert.throws(() => projectName('-'), { code: 'usage', hint: /letter or a digit/ });
  });

  test('a project has up to 63 letters, digits, dots, underscores and hyphens, in lower case', () => {
    for (const name of ['a', '0', 'web', 'a.b_c-d', 'x'.repeat(63)]) {
      assert.equal(projectName(name), name);
      assert.ok(isProjectName(name));
    }
    assert.equal(projectName('WebApp'), 'webapp');
    assert.ok(!isProjectName('WebApp'));
    for (const name of ['', '-a', '.a', '_a', 'a b', 'a/b', 'a\n', '\na', 'x'.repeat(64), 'é']) {
      assert.throws(() => projectName(name), refusal('usage'), name);
      assert.ok(!isProjectName(name), name);
    }
  });

  test('a holder is the user, the machine and the process', () => {
    assert.equal(thisHolder(), `${userInfo().username}@${hostname()}, pid ${process.pid}`);
  });
});

describe('a record', () => {
  test('is read as it was written, unreadable entries last', () => {
    const [first, second] = [lease('web'), lease('web', { isToEnd: true })];
    const text = formatLeases({ leases: [first, second], unreadable: ['x', { vm: 'y' }] });
    assert.deepEqual(JSON.parse(text), { version: 1, leases: [first, second, 'x', { vm: 'y' }] });
    assert.deepEqual(parseLeases('web', text), {
      project: 'web',
      leases: [first, second],
      unreadable: ['x', { vm: 'y' }],
    });
  });

  test('is nothing of ours without the version and a list', () => {
    for (const text of [
      '',
      '{',
      'null',
      '1',
      '[]',
      '{}',
      '{"version":1}',
      '{"version":2,"leases":[]}',
      '{"version":1,"leases":{}}',
      '{"version":"1","leases":[]}',
      '{"leases":[]}',
    ])
      assert.equal(parseLeases('web', text), undefined, text);
    assert.deepEqual(parseLeases('web', '{"version":1,"leases":[]}'), {
      project: 'web',
      leases: [],
      unreadable: [],
    });
  });

  test('keeps entries that are not objects as unreadable', () => {
    const read = parseLeases('web', '{"version":1,"leases":[null,1,"x",[],true]}');
    assert.deepEqual(read?.leases, []);
    assert.deepEqual(read?.unreadable, [null, 1, 'x', [], true]);
  });
});

describe('a lease that a store returns', () => {
  const read = (changes: object) => {
    const text = JSON.stringify({ version: 1, leases: [{ ...lease('web'), ...changes }] });
    return parseLeases('web', text)?.leases.length;
  };

  test('has values of a fixed form', () => {
    assert.equal(read({}), 1);
    for (const [field, good] of Object.entries(lease('web'))) {
      if (typeof good !== 'string') continue;
      // A holder may have blanks and brackets; no value may have control characters.
      const bad =
        field === 'holder'
          ? [`${good}\n`, `\u001b${good}`, '']
          : [`${good} `, `${good}\n`, ` ${good}`, `${good}$(id)`, ''];
      for (const value of bad)
        assert.equal(read({ [field]: value }), 0, `${field}: ${JSON.stringify(value)}`);
    }
    for (const field of ['port', 'startedAt', 'endsAt']) {
      for (const value of [0, -1, 1.5, '22', null, 2 ** 60]) assert.equal(read({ [field]: value }), 0, field);
    }
    assert.equal(read({ port: 65_535, startedAt: 1 }), 1);
    assert.equal(read({ port: 65_536 }), 0);
    for (const [field, limit, first] of [
      ['vm', 63, 'x'],
      ['host', 253, 'x'],
      ['user', 32, 'x'],
      ['holder', 200, 'x'],
    ] as const) {
      assert.equal(read({ [field]: first.repeat(limit) }), 1, field);
      assert.equal(read({ [field]: first.repeat(limit + 1) }), 0, field);
    }
    for (const [field, values] of Object.entries({
      id: ['0123456789abc', 'x0123456789a', '0123456789AB'],
      vm: ['-a', '.a', 'A'],
      user: ['-a', '.a', 'a b'],
      host: ['a/b', 'a b'],
    }))
      for (const value of values) assert.equal(read({ [field]: value }), 0, `${field}: ${value}`);
    for (const host of ['fe80::1%eth0', 'a-b.example', 'A_b']) assert.equal(read({ host }), 1, host);
    for (const user of ['_a', 'A.b-c', '0']) assert.equal(read({ user }), 1, user);
    for (const isToEnd of ['true', 1, {}]) {
      const text = JSON.stringify({ version: 1, leases: [{ ...lease('web'), isToEnd }] });
      assert.equal(parseLeases('web', text)?.leases[0]?.isToEnd, false);
    }
    assert.equal(read({ project: 'other' }), 0, 'of another project');
    for (const project of ['-web', 'web\n', 'Web']) {
      const text = JSON.stringify({ version: 1, leases: [{ ...lease('web'), project }] });
      assert.equal(parseLeases(project, text)?.leases.length, 0, JSON.stringify(project));
    }
  });

  test('has texts, and no lists that read like them', () => {
    for (const [field, good] of Object.entries(lease('web')))
      if (typeof good === 'string') assert.equal(read({ [field]: [good] }), 0, field);
  });

  test('names an instance with account and region, or no command', () => {
    const good = {
      kind: 'terminate',
      instance: 'i-0123456789abcdef0',
      region: 'eu-west-1',
      account: '111122223333',
    };
    assert.equal(read({ destroy: good }), 1);
    for (const destroy of [undefined, null, 'terminate', {}, []]) assert.equal(read({ destroy }), 0);
    for (const [field, value] of [
      ['kind', 'stop'],
      ['kind', 'terminate '],
      ['instance', 'i-0123456789abcdef0 --all'],
      ['instance', 'i-0123456789abcdef0\n'],
      ['instance', 'xi-0123456789abcdef0'],
      ['region', 'eu-west-1.evil.example'],
      ['region', 'eu-west-1\n'],
      ['region', 'EU-WEST-1'],
      ['region', ['eu-west-1']],
      ['account', '1111222233334'],
      ['account', '11112222333x'],
      ['account', undefined],
    ] as const) {
      assert.equal(read({ destroy: { ...good, [field]: value } }), 0, `${field} ${value}`);
    }
    const command = parseLeases(
      'web',
      JSON.stringify({
        version: 1,
        leases: [{ ...lease('web'), destroy: { kind: 'command', command: 'reboot' } }],
      }),
    );
    assert.deepEqual(command?.leases[0]?.destroy, { kind: 'command' });
    assert.doesNotMatch(formatLeases(command ?? { leases: [], unreadable: [] }), /reboot/);
  });
});

test('accepts the regions of every partition', () => {
  for (const region of [
    ...['us-east-1', 'eu-central-2', 'ap-southeast-7', 'mx-central-1', 'cn-northwest-1', 'us-gov-west-1'],
    ...['us-iso-east-1', 'us-isob-east-1', 'eu-isoe-west-1', 'us-isof-south-1', 'eusc-de-east-1'],
  ]) {
    assert.ok(isRegion(region), region);
  }
  for (const text of [
    '',
    'us-east',
    'us-east-1a',
    'US-EAST-1',
    'us-east-1 ',
    'us-east-1\n',
    '-us-east-1',
    'us.east.1',
  ]) {
    assert.ok(!isRegion(text), text);
  }
});
