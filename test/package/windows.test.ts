/** The files of a release for Windows, as far as they can be checked here; `npm run prove:windows` runs it. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { unzipSync } from 'fflate';
import { signatureOf } from '../../build/authenticode.ts';
import { version } from '../../src/version.ts';
import { copySources, makeRelease, sumsOf } from './packaging.ts';

test('the archive for Windows has the program, unsigned and with its bundle, and the licences', async (context) => {
  const directory = mkdtempSync(join(tmpdir(), 'mint-windows-'));
  context.after(() => rmSync(directory, { recursive: true }));
  const release = join(directory, 'release');
  const words = ['--target', 'win-x64', '--output', release];
  await makeRelease(copySources(join(directory, 'sources')), words, 'Asia/Tokyo');

  const title = `mint-ssh-${version}-win-x64`;
  const archive = readFileSync(join(release, `${title}.zip`));
  assert.equal(sumsOf(release)[`${title}.zip`], createHash('sha256').update(archive).digest('hex'));
  assert.ok(archive.length < 45e6, `${archive.length} bytes`);
  const files = unzipSync(archive);
  const texts = ['LICENSE', 'README.md', 'THIRD-PARTY-LICENSES.txt'];
  const shells = ['mint-ssh.1', 'mint-ssh.bash', 'mint-ssh.fish', 'mint-ssh.zsh'];
  assert.deepEqual(
    Object.keys(files).sort(),
    [...texts, ...shells, 'mint-ssh.exe'].map((name) => `${title}/${name}`).sort(),
  );
  const program = Buffer.from(files[`${title}/mint-ssh.exe`] ?? assert.fail());
  assert.ok(program.length < 115e6, `${program.length} bytes`);
  assert.deepEqual(signatureOf(program), { offset: 0, size: 0 });
  // Node looks for its bundle where the fuse is blown.
  assert.ok(program.includes('NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2:1'));
  assert.ok(program.includes('StrictHostKeyChecking'));
});
