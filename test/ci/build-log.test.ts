/** The block for a build log: the forms of GitHub and GitLab, and nothing in it that acts or is secret. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import type { Announcement } from '../../src/ci/announcement.ts';
import { buildLogBlock, type LogFormat, logFormats } from '../../src/ci/build-log.ts';

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
    destroy: { kind: 'command' },
  },
  hostKey: {
    type: 'ssh-ed25519',
    base64: 'AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl',
    fingerprint: 'SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU',
  },
  privateKey: undefined,
  admitted: ['SHA256:NnDpBgb87AzG0RziptalpCX3APm5wLGWJWKoN3sp41A'],
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
  test('has everything a person needs, in every form', () => {
    for (const format of logFormats) {
      const text = block(format);
      for (const needed of [
        '203.0.113.7',
        '41122',
        'ubuntu',
        announcement.hostKey.fingerprint,
        `[203.0.113.7]:41122 ssh-ed25519 ${announcement.hostKey.base64}`,
        'ssh -o UserKnownHostsFile=mint-debug-0123456789ab.known_hosts -o StrictHostKeyChecking=yes -p 41122 ubuntu@203.0.113.7',
        '2026-01-01T12:30:00.000Z',
        'sh ~/.mint-debug/end',
        'mint-ssh debug end 0123456789ab',
      ]) {
        assert.ok(text.includes(needed), `${format} has no ${needed}:\n${text}`);
      }
      assert.ok(text.endsWith('\n'));
    }
  });

  test('is one group and one annotation to GitHub', () => {
    const text = block('github');
    assert.deepEqual(commandsOf(text), ['group', 'endgroup', 'notice']);
    const lines = text.split('\n');
    assert.equal(lines[0], '::group::mint-ssh debug access to build-17');
    assert.match(
      text,
      /^::notice title=mint-ssh debug access to build-17::ssh -o .* until 2026-01-01T12:30:00\.000Z; /m,
    );
  });

  test('is one section to GitLab, that begins and ends by the same name', () => {
    const text = block('gitlab');
    const erase = '\u001b[0K';
    const seconds = now / 1000;
    assert.ok(
      text.startsWith(
        `${erase}section_start:${seconds}:mint_debug_0123456789ab\r${erase}mint-ssh debug access to build-17\n`,
      ),
    );
    assert.ok(text.endsWith(`\n${erase}section_end:${seconds}:mint_debug_0123456789ab\r${erase}\n`));
    assert.equal(text.split('section_').length, 3);
  });

  test('is fenced in plain text, and one line of JSON', () => {
    const lines = block('text').trimEnd().split('\n');
    assert.match(lines[0] ?? '', /^==== mint-ssh debug access to build-17 =+$/);
    assert.match(lines.at(-1) ?? '', /^==== end of mint-ssh debug access =+$/);
    assert.deepEqual(commandsOf(block('text')), []);
    assert.equal(block('json').split('\n').length, 2);
    assert.equal(JSON.parse(block('json')).private_key, undefined);
  });

  test('has a known_hosts line that ssh takes, in brackets where the port is another', () => {
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

  test('gives nobody a way to say something in the log system’s own words', () => {
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
      // None of these passes the checks before it; the last line of defence is tried alone.
      const lease = { ...announcement.lease, vm: word, host: word, user: word, project: word };
      const changes = { lease, admitted: [word], endOptions: word, armedBy: word };
      const hostKey = { type: word, base64: word, fingerprint: word };
      assert.deepEqual(
        commandsOf(block('github', { ...changes, hostKey })),
        ['group', 'endgroup', 'notice'],
        word,
      );
      const text = block('gitlab', { ...changes, hostKey });
      assert.equal(text.split('\u001b').length, 5, 'only our own marks');
      assert.equal(text.split('\r').length, 3);
      assert.deepEqual(commandsOf(block('text', { ...changes, hostKey })), [], word);
      const notice =
        block('github', { ...changes, hostKey })
          .split('\n')
          .at(-2) ?? '';
      assert.doesNotMatch(
        notice.replaceAll('%25', ''),
        /%0A|%0D/,
        'an escape of theirs would be a line of ours',
      );
    }
  });
});
