import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { resolvePaths } from '../../src/platform/paths.ts';
import { type OpenJob, parseOpenJobs, readOpenJobs, writeOpenJobs } from '../../src/settings/open-jobs.ts';
import { loadSettings } from '../../src/settings/settings.ts';

const job: OpenJob = {
  name: 'build-7',
  user: 'ubuntu',
  host: '2001:db8::7',
  port: 22,
  publicKey: `ssh-ed25519 ${'A'.repeat(68)}`,
  hostKey: `SHA256:${'b'.repeat(43)}`,
  begunAt: '2026-01-02T03:04:05.678Z',
};

describe('the record of open jobs', () => {
  test('is read back as it was written, and is private', (context) => {
    const directory = mkdtempSync(join(tmpdir(), 'mint-jobs-'));
    context.after(() => rmSync(directory, { recursive: true, force: true }));
    const paths = resolvePaths({ configDir: directory }, {});
    assert.deepEqual(readOpenJobs(paths), []);
    const bare = { ...job, name: 'bare', host: undefined, hostKey: undefined };
    writeOpenJobs(paths, [job, bare]);
    assert.deepEqual(readOpenJobs(paths), [job, bare]);
    assert.equal(statSync(paths.jobs).mode & 0o777, 0o600);
  });

  test('sets the address of a job’s VM, unless ssh.toml has a VM of that name', (context) => {
    const directory = mkdtempSync(join(tmpdir(), 'mint-jobs-'));
    context.after(() => rmSync(directory, { recursive: true, force: true }));
    const paths = resolvePaths({ configDir: directory }, {});
    writeOpenJobs(paths, [job, { ...job, name: 'dev' }, { ...job, name: 'mine' }]);
    writeFileSync(
      paths.sshToml,
      '[vm.dev]\nhost = "192.0.2.1"\n[vm.mine]\naccess = "injected"\nuser = "me"\n',
      { mode: 0o600 },
    );
    const settings = loadSettings(paths, {});
    const place = (name: string) => {
      const { user, host, port, access, verify } = settings.named(name);
      return [user, host, port, access, verify];
    };
    assert.deepEqual(place('build-7'), ['ubuntu', '2001:db8::7', 22, 'injected', 'tofu']);
    assert.deepEqual(place('dev'), ['ubuntu', '192.0.2.1', 22, undefined, 'console']);
    assert.deepEqual(place('mine'), ['me', '2001:db8::7', 22, 'injected', 'tofu']);
    assert.ok(settings.knows('build-7') && !settings.knows('build-8'));
  });

  const damages: Readonly<Record<string, unknown>> = {
    'no object': [],
    'no version': { jobs: [job] },
    'a later version': { version: 2, jobs: [job] },
    'jobs that are not a list': { version: 1, jobs: { job } },
    'a job that is not an object': { version: 1, jobs: ['build-7'] },
    'a name that is a path': { version: 1, jobs: [{ ...job, name: '../x' }] },
    'a user with an option': { version: 1, jobs: [{ ...job, user: '-oProxyCommand=x' }] },
    'a host with a line end': { version: 1, jobs: [{ ...job, host: 'a\nProxyCommand x' }] },
    'an invalid port': { version: 1, jobs: [{ ...job, port: 0 }] },
    'a port in words': { version: 1, jobs: [{ ...job, port: '22' }] },
    'a public key with a comment': { version: 1, jobs: [{ ...job, publicKey: `${job.publicKey} x` }] },
    'a host key that is not a fingerprint': { version: 1, jobs: [{ ...job, hostKey: 'x' }] },
    'a date with more behind it': { version: 1, jobs: [{ ...job, begunAt: `${job.begunAt}\n` }] },
  };
  for (const [what, file] of Object.entries(damages)) {
    test(`with ${what} is refused entirely`, () => {
      const text = JSON.stringify(file);
      assert.throws(() => parseOpenJobs(text, '/x/jobs.json'), { code: 'io-failed', message: /jobs\.json/ });
    });
  }

  test('that is truncated is refused', () => {
    const text = JSON.stringify({ version: 1, jobs: [job] });
    for (let length = 0; length < text.length; length += 7) {
      assert.throws(() => parseOpenJobs(text.slice(0, length), 'x'), { code: 'io-failed' });
    }
  });
});
