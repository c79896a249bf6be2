/** What other programs left in a config, said on a VM or wrote into a table. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { formatLeases, parseLeases } from '../../../src/ci/leases.ts';
import { parseMoshServer } from '../../../src/commands/mosh-server.ts';
import { parseOpenJobs } from '../../../src/settings/open-jobs.ts';
import {
  findMintBlocks,
  putAsideMintBlocks,
  restoreMintBlocks,
} from '../../../src/ssh-config/mint-blocks.ts';
import { ed25519Line, fingerprint } from '../material.ts';
import { attempt, Refusal, type Target } from '../target.ts';

function mintBlock(vm: string): string {
  const inner = `Host mint-${vm}\n    HostName 203.0.113.7\n    User ubuntu\n`;
  const sum = createHash('sha256').update(inner).digest('hex');
  return `# mint:begin ${vm}\n${inner}# mint:end ${vm}\n# mint:checksum:${sum}\n`;
}

/** The user's ssh config with Mint's own blocks in it. */
export const mintBlocks: Target = {
  name: 'mint-blocks',
  modules: ['ssh-config/mint-blocks.ts'],
  seeds: () => [
    Buffer.from(`Host *\n  User me\n${mintBlock('dev')}${mintBlock('dev-2')}# end\n`),
    Buffer.from(mintBlock('dev').replace('ubuntu', 'root')),
    // Found by the fuzzer: a torn block above it kept the whole one from coming back.
    Buffer.from(`# mint:begin dev\n${mintBlock('dev')}`),
    putAsideMintBlocks(Buffer.from(`# mine\n${mintBlock('dev')}Host x\n`), new Set(['dev'])),
    putAsideMintBlocks(Buffer.from(mintBlock('dev').trimEnd()), new Set(['dev'])),
  ],
  dictionary: [
    ...[
      '# mint:begin dev\n',
      '# mint:end dev\n',
      '# mint:checksum:',
      'Host mint-dev\n',
      '\n',
      '\r\n',
      ' ',
      'dev-2',
    ],
    mintBlock('dev'),
    putAsideMintBlocks(Buffer.from(mintBlock('dev')), new Set(['dev'])),
  ],
  longest: 2048,
  run(input) {
    const blocks = findMintBlocks(input);
    const aside = putAsideMintBlocks(input, new Set(['dev']));
    assert.ok(
      !findMintBlocks(aside).some(({ vm, isIntact }) => vm === 'dev' && isIntact),
      'one still stands',
    );
    const count = (bytes: Buffer) => findMintBlocks(bytes).filter(({ isIntact }) => isIntact).length;
    const restored = restoreMintBlocks(aside);
    // Where none was put aside before, every byte is back.
    if (restoreMintBlocks(input).equals(input)) assert.deepEqual(restored, input);
    assert.ok(count(restored) >= count(input), 'a block of Mint’s got lost');
    assert.deepEqual(restoreMintBlocks(restored), restored);
    return `${Math.min(blocks.length, 3)} ${count(input) > 0} ${aside.equals(input)}`;
  },
};

/** What mosh-server prints. */
export const moshServer: Target = {
  name: 'mosh-server',
  modules: ['commands/mosh-server.ts'],
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

/** A project's leases, as anybody with access to the store can write them. */
export const leases: Target = {
  name: 'lease',
  modules: ['ci/leases.ts'],
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
  modules: ['settings/open-jobs.ts'],
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
