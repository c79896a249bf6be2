/** `mint-ssh keys`, the built program, with the real ssh and sshd: each stored key, and each export of it, logs in. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { startChild } from './child.ts';
import { loginUser, type Sshd, startSshd } from './sshd.ts';
import { mintProgram } from './world.ts';

describe('mint-ssh keys', { timeout: 300_000 }, () => {
  const directory = mkdtempSync('/tmp/mks-');
  const authorizedKeys = join(directory, 'authorized');
  const store = join(directory, 'store');
  const env = { PATH: process.env['PATH'], HOME: directory, MINT_CONFIG_DIR: join(directory, 'config') };
  let sshd: Sshd;

  before(async () => {
    mkdirSync(authorizedKeys);
    sshd = await startSshd({ directory: join(directory, 'sshd'), authorizedKeys });
    await sshd.start();
  });

  after(async () => {
    await sshd.stop();
    rmSync(directory, { recursive: true, force: true });
  });

  async function keys(...words: string[]): Promise<string> {
    const { status, stdout, stderr } = await startChild(
      mintProgram,
      ['keys', ...words, '--store', store],
      env,
    ).done;
    assert.equal(status, 0, stderr);
    return stdout;
  }

  /** By the server's log: the account that runs the tests may have no shell. */
  async function logsIn(keyFile: string): Promise<boolean> {
    const options = ['StrictHostKeyChecking=no', 'UserKnownHostsFile=/dev/null', 'IdentitiesOnly=yes'];
    const words = [...options, 'BatchMode=yes', 'IdentityAgent=none'].flatMap((option) => ['-o', option]);
    const target = ['-p', String(sshd.port), `${loginUser}@127.0.0.1`, 'true'];
    const before = sshd.accepted();
    await startChild('ssh', ['-F', '/dev/null', ...words, '-i', keyFile, ...target], env).done;
    return sshd.accepted() > before;
  }

  for (const type of ['ed25519', 'rsa-2048', 'rsa-4096', 'ecdsa-p256']) {
    test(`a key of type ${type} logs in from the store, and so does each export of it`, async () => {
      await keys('create', `My ${type}`, '--type', type);
      writeFileSync(join(authorizedKeys, loginUser), await keys('public', `my-${type}`));
      assert.ok(await logsIn(join(store, `my-${type}`)));
      const { fingerprint } = JSON.parse(await keys('show', `my-${type}`, '--json')) as {
        fingerprint: string;
      };
      const listed = await startChild('ssh-keygen', ['-lf', join(store, `my-${type}`)], env).done;
      assert.match(listed.stdout, new RegExp(fingerprint.replaceAll(/[+/]/g, '\\$&')));
      // OpenSSH before 9.6 reads an ed25519 key in no other format than its own.
      for (const format of type === 'ed25519' ? ['openssh'] : ['openssh', 'pem', 'pkcs8']) {
        const output = join(directory, `${type}.${format}`);
        await keys('export', `my-${type}`, '--output', output, '--format', format);
        assert.ok(await logsIn(output), format);
        await keys('import', `back-${type}-${format}`, '--key-file', output);
        assert.ok(await logsIn(join(store, `back-${type}-${format}`)), format);
      }
    });
  }

  test('another key does not, nor one that was deleted and created again', async () => {
    const line = await keys('public');
    writeFileSync(join(authorizedKeys, loginUser), line);
    assert.ok(await logsIn(join(store, 'default')));
    await keys('create', 'other');
    assert.equal(await logsIn(join(store, 'other')), false);
    await keys('delete', 'default', '--force');
    assert.notEqual(await keys('public', 'default'), line);
    assert.equal(await logsIn(join(store, 'default')), false);
  });

  test('a shared key logs in its recipient, who imports it', async () => {
    const identity = join(directory, 'identity');
    const made = await startChild('age-keygen', ['-o', identity], env).done;
    const recipient = /age1\w+/.exec(made.stderr)?.[0] ?? '';
    const file = join(directory, 'lab.age');
    await keys('create', 'lab');
    await keys('share', 'lab', '--to', recipient, '--output', file);
    await keys('import', 'ours', '--key-file', file, '--identity', identity);
    writeFileSync(join(authorizedKeys, loginUser), readFileSync(join(store, 'lab.pub')));
    assert.ok(await logsIn(join(store, 'ours')));
  });
});
