/** The block for a build log: the formats of GitHub and GitLab, without commands and secrets. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import {
  type Announcement,
  buildLogBlock,
  inert,
  type LogFormat,
  logFormats,
} from '../../src/ci/build-log.ts';

const now = Date.UTC(2026, 0, 1, 12);
const announcement: Announcement = {
  lease: {
    id: '0123456789ab',
    project: 'web',
    vm: 'build-17',
    host: '203.0.113.7',
    port: 41_122,
    user: 'ubuntu',
    holder: 'runner@ci, pid 7',
    startedAt: now,
    endsAt: now + 30 * 60_000,
    destroy: {
      kind: 'terminate',
      instance: 'i-0123456789abcdef0',
      region: 'eu-west-1',
      account: '111122223333',
    },
    isToEnd: false,
  },
  hostKey: {
    type: 'ssh-ed25519',
    base64: 'AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl',
    fingerprint: 'SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU',
  },
  privateKey: undefined,
  authorized: ['SHA256:NnDpBgb87AzG0RziptalpCX3APm5wLGWJWKoN3sp41A'],
  armedBy: 'systemd-run',
  endOptions: '',
};
const block = (format: LogFormat, changes: Partial<Announcement> = {}) =>
  buildLogBlock({ ...announcement, ...changes }, format, now);

/** How GitHub's runner reads a line: `::word k=v::text` at its beginning, behind blanks, or `##[word]text` anywhere in it. */
function commandsOf(text: string): string[] {
  return text.split(/\r?\n/).flatMap((line) => {
    const trimmed = line.trimStart();
    const [, word] = /^::([^: ]+)(?: .*?)?::/.exec(trimmed) ?? /##\[([^\] ]+)[^\]]*\]/.exec(line) ?? [];
    return word === undefined ? [] : [word];
  });
}

describe('the block', () => {
  test('has everything that a visitor needs, in every format', () => {
    for (const format of logFormats) {
      const text = block(format);
      for (const needed of [
        '203.0.113.7',
        '41122',
        'ubuntu',
        announcement.hostKey.fingerprint,
        `[203.0.113.7]:41122 ssh-ed25519 ${announcement.hostKey.base64}`,
        'ssh -o UserKnownHostsFile=mint-debug-0123456789ab.known_hosts -o StrictHostKeyChecking=yes -p 41122 ubuntu@203.0.113.7',
        '2026-01-01T12:30:00Z',
        'sudo poweroff',
        'aws ec2 terminate-instances --region eu-west-1 --instance-ids i-0123456789abcdef0',
        'mint-ssh debug end 0123456789ab',
      ]) {
        assert.ok(text.includes(needed), `${format} has no ${needed}:\n${text}`);
      }
      assert.ok(text.endsWith('\n'));
    }
  });

  test('is one group to GitHub, and nothing outside of it', () => {
    const text = block('github');
    assert.deepEqual(commandsOf(text), ['group', 'endgroup']);
    const lines = text.split('\n');
    assert.equal(lines[0], '::group::debug access by mint-ssh: build-17');
    assert.equal(lines.at(-2), '::endgroup::');
  });

  test('is one section to GitLab, that begins and ends by the same name', () => {
    const text = block('gitlab');
    const erase = '\u001b[0K';
    const seconds = now / 1000;
    assert.ok(
      text.startsWith(
        `${erase}section_start:${seconds}:mint_debug_0123456789ab\r${erase}debug access by mint-ssh: build-17\n`,
      ),
    );
    assert.ok(text.endsWith(`\n${erase}section_end:${seconds}:mint_debug_0123456789ab\r${erase}\n`));
    assert.equal(text.split('section_').length, 3);
  });

  test('is fenced in plain text, and one line of JSON', () => {
    const lines = block('text').trimEnd().split('\n');
    assert.match(lines[0] ?? '', /^==== debug access by mint-ssh: build-17 =+$/);
    assert.match(lines.at(-1) ?? '', /^==== end of debug access =+$/);
    assert.deepEqual(commandsOf(block('text')), []);
    assert.equal(block('json').split('\n').length, 2);
    assert.equal(JSON.parse(block('json')).private_key, null);
  });

  test('has a known_hosts line that ssh accepts, with brackets for other ports', () => {
    const directory = mkdtempSync('/tmp/mb-');
    after(() => rmSync(directory, { recursive: true, force: true }));
    for (const [host, port] of [
      ['203.0.113.7', 41_122],
      ['203.0.113.7', 22],
      ['2001:db8::7', 2222],
      ['vm.example.org', 22],
    ] as const) {
      const { known_hosts: line } = JSON.parse(
        block('json', { lease: { ...announcement.lease, host, port } }),
      );
      const file = join(directory, 'known_hosts');
      writeFileSync(file, `${line}\n`);
      const name = port === 22 ? host : `[${host}]:${port}`;
      const found = execFileSync('ssh-keygen', ['-F', name, '-l', '-f', file], { encoding: 'utf8' });
      assert.ok(found.includes(announcement.hostKey.fingerprint), found);
    }
  });

  test('shows no secret unless a one-off key was asked for, and then a key that can be pasted', () => {
    for (const format of logFormats) assert.doesNotMatch(block(format), /PRIVATE KEY|b3BlbnNzaC1rZXktdjE/);
    const privateKey =
      '-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjE\n-----END OPENSSH PRIVATE KEY-----\n';
    for (const format of logFormats) assert.match(block(format, { privateKey }), /BEGIN OPENSSH PRIVATE KEY/);
    const directory = mkdtempSync('/tmp/mb-');
    after(() => rmSync(directory, { recursive: true, force: true }));
    const text = block('text', { privateKey });
    const lines = text.slice(text.indexOf('To log in:\n') + 11, text.indexOf('\nssh -o'));
    execFileSync('sh', ['-c', lines], { cwd: directory });
    assert.equal(readFileSync(join(directory, 'mint-debug-0123456789ab.key'), 'utf8'), privateKey);
    assert.match(
      text,
      /ssh -o UserKnownHostsFile=\S+ -o StrictHostKeyChecking=yes -i mint-debug-0123456789ab\.key/,
    );
  });

  test('cannot contain commands of the log systems', () => {
    const hostile = [
      '::error::x',
      ' ::set-env name=PATH::/tmp',
      'x ##[error]y',
      'a\n::stop-commands::x',
      'a\r::error::x',
      '\u001b[0Ksection_end:1:mint_debug_0123456789ab\r\u001b[0K',
      '%0A::error::x',
      'x\u2028::error::y',
    ];
    for (const word of hostile) {
      // Earlier checks refuse all of these. This tests the last line of defence alone.
      const lease = { ...announcement.lease, vm: word, host: word, user: word, project: word };
      const changes = { lease, authorized: [word], endOptions: word, armedBy: word };
      const hostKey = { type: word, base64: word, fingerprint: word };
      assert.deepEqual(commandsOf(block('github', { ...changes, hostKey })), ['group', 'endgroup'], word);
      const text = block('gitlab', { ...changes, hostKey });
      assert.equal(text.split('\u001b').length, 5, 'only our own marks');
      assert.equal(text.split('\r').length, 3);
      assert.deepEqual(commandsOf(block('text', { ...changes, hostKey })), [], word);
      const [title = ''] = block('github', { ...changes, hostKey }).split('\n');
      assert.doesNotMatch(
        title.replaceAll('%25', ''),
        /%0A|%0D/,
        'an escape of theirs would be a line of ours',
      );
    }
  });
});

describe('output of a VM in a build log', () => {
  const hostile = [
    '::error::x',
    '\t ::set-env name=PATH::/tmp',
    'x ##[add-path]y',
    '##vso[task.setvariable variable=x]y',
    "##teamcity[buildStatus status='SUCCESS']",
    '\u001b[2J\u001b[1;31mred\u0007',
    '\u009b31m',
    '\u001b[0Ksection_end:1:mint_debug_0123456789ab\r\u001b[0K',
    'fine\r::error::x',
    'a\u2028::error::x',
  ];
  const commands = /^\s*::|##\[|##vso\[|##teamcity\[|[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u;

  test('contains no command for GitHub, Azure or TeamCity, and no control character', () => {
    for (const text of hostile.flatMap((line) => line.split('\r'))) {
      assert.doesNotMatch(inert(text), commands, JSON.stringify(text));
    }
    assert.equal(inert('build: 3 tests failed: a::b ## c'), 'build: 3 tests failed: a::b ## c');
  });

  test('is shown line by line for every split, up to a limit', async () => {
    const program = `
      import { readFileSync } from 'node:fs';
      import { PassThrough } from 'node:stream';
      import { showInert } from '${join(import.meta.dirname, '../../src/ci/build-log.ts')}';
      const stream = new PassThrough();
      showInert(stream);
      const all = readFileSync(0);
      if (process.argv[1] === 'whole') stream.end(all);
      else {
        for (const byte of all) stream.write(Buffer.from([byte]));
        stream.end();
      }`;
    const run = (pieces: readonly string[], how = 'whole') => {
      const { stderr, status } = spawnSync(process.execPath, ['--input-type=module', '-e', program, how], {
        input: pieces.join(''),
        encoding: 'utf8',
        maxBuffer: 1 << 24,
      });
      assert.equal(status, 0, stderr);
      return stderr;
    };
    const all = run(hostile.map((line) => `${line}\r\n`));
    const lines = all.split('\n').slice(0, -1);
    assert.equal(lines.length, hostile.length + 2, 'a carriage return ends a line, too');
    for (const line of lines) assert.doesNotMatch(line, commands);
    assert.equal(run(['no newline at the end']), 'no newline at the end\n');
    const endless = run(['y\n'.repeat(200_000), 'z'.repeat(1_000_000)]);
    assert.ok(endless.length < 140_000, String(endless.length));
    assert.match(endless, /more output of the VM is not shown/);

    // One byte at a time, so that a command cannot hide between chunks.
    assert.equal(
      run(
        hostile.map((line) => `${line}\r\n`),
        'byte by byte',
      ),
      all,
    );
  });
});
