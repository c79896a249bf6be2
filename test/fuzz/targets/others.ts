/** Data of other programs in a config, on a VM or in a table. */
import assert from 'node:assert/strict';
import { formatLeases, parseLeases } from '../../../src/ci/leases.ts';
import { parseMoshServer } from '../../../src/commands/mosh-server.ts';
import { parseOpenJobs } from '../../../src/settings/open-jobs.ts';
import { ed25519Line, fingerprint } from '../material.ts';
import { attempt, Refusal, type Target } from '../target.ts';

/** What mosh-server prints. */
export const moshServer: Target = {
  name: 'mosh-server',
  seeds: () => [
    Buffer.from('motd\r\n\r\nMOSH CONNECT 60001 AAAAAAAAAAAAAAAAAAAAAA\r\n\r\nmosh-server (mosh 1.4.0)\n'),
  ],
  dictionary: [
    'MOSH CONNECT ',
    '\r\n',
    '\n',
    ' ',
    '60001',
    '65536',
    '00001',
    'AAAAAAAAAAAAAAAAAAAAAA',
    '\u001b[',
  ],
  longest: 512,
  run(input) {
    const answer = parseMoshServer(input.toString('latin1'));
    if (answer?.kind !== 'ready') return answer?.kind ?? 'not yet';
    assert.ok(answer.port > 0 && answer.port < 65_536);
    assert.match(answer.key, /^[A-Za-z0-9/+]{22}$/);
    return answer.kind;
  },
};

const lease = {
  ...{ id: '0123456789ab', project: 'web', vm: 'ci-1', host: '203.0.113.7', port: 22, user: 'ubuntu' },
  ...{ holder: 'me@here, pid 1', startedAt: 1, endsAt: 2 },
  destroy: {
    kind: 'terminate',
    instance: 'i-0123456789abcdef0',
    region: 'us-east-1',
    account: '111122223333',
  },
  isToEnd: false,
};

/** A project's leases, as anyone with access to the store can write them. */
export const leases: Target = {
  name: 'lease',
  seeds: () => [
    Buffer.from(JSON.stringify(lease)),
    Buffer.from(JSON.stringify({ ...lease, destroy: { kind: 'command', command: 'rm -rf /' } })),
  ],
  dictionary: [
    ...Object.keys(lease),
    ...[
      '"',
      ':',
      ',',
      '{',
      '}',
      '[',
      ']',
      'null',
      '-1',
      '1e999',
      '"__proto__":',
      'stop',
      'command',
      '\\u0000',
    ],
  ],
  longest: 1024,
  run(input) {
    const record = parseLeases('web', `{"version":1,"leases":[${input.toString('latin1')}]}`);
    if (record === undefined) return 'none';
    assert.deepEqual(parseLeases('web', formatLeases(record)), record);
    for (const { destroy, vm, project, user, host, holder } of record.leases) {
      // A store has no say in what runs here.
      assert.ok(!('command' in destroy));
      for (const word of [vm, project, user, host, holder]) assert.doesNotMatch(word, /[\p{Cc}]/u);
    }
    return record.leases[0]?.destroy.kind ?? 'unreadable';
  },
};

const job = {
  ...{ name: 'ci-1', user: 'ubuntu', host: '203.0.113.7', port: 22, begunAt: '2026-01-01T00:00:00.000Z' },
  ...{ publicKey: ed25519Line, hostKey: fingerprint },
};

/** `jobs.json`. */
export const openJobs: Target = {
  name: 'open-jobs',
  seeds: () => [
    Buffer.from(JSON.stringify({ version: 1, jobs: [job, { ...job, host: undefined, hostKey: undefined }] })),
  ],
  dictionary: [
    ...Object.keys(job),
    ...[
      '"version":1',
      '"jobs":[',
      '"',
      ':',
      ',',
      '{',
      '}',
      ']',
      'null',
      '0',
      '65536',
      ed25519Line,
      '../',
      '::1',
    ],
  ],
  longest: 1024,
  run(input) {
    const read = attempt(['io-failed'], () => parseOpenJobs(input.toString('utf8'), '/jobs.json'));
    if (read instanceof Refusal) return read.words;
    const again = parseOpenJobs(JSON.stringify({ version: 1, jobs: read }), '/jobs.json');
    assert.deepEqual(again, read);
    for (const { name, host = '' } of read) assert.doesNotMatch(`${name} ${host}`, /[/\\\p{Cc}]/u);
    return `${Math.min(read.length, 3)} ${read[0]?.host === undefined}`;
  },
};
