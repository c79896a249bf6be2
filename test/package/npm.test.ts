/** The npm package: packed, installed into a clean prefix, and used with the Node of the machine. */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { startChild } from '../openssh/child.ts';
import { makeWorld, type World } from '../openssh/world.ts';
import { testPath } from '../programs.ts';

const root = join(import.meta.dirname, '../..');

describe('npm install -g', { timeout: 300_000 }, () => {
  let folder: string;
  let program: string;
  let world: World;
  const path = `${dirname(process.execPath)}:${testPath}`;

  before(async () => {
    folder = mkdtempSync('/tmp/mint-npm-');
    const env = { ...process.env, PATH: `${dirname(process.execPath)}:${process.env['PATH']}` };
    const options = { cwd: root, timeout: 200_000 };
    const packed = await startChild(process.execPath, ['build/npm.ts', folder], env, options).done;
    assert.equal(packed.status, 0, packed.stderr);
    const tarball = readdirSync(folder).find((name) => name.endsWith('.tgz')) ?? assert.fail(packed.stdout);
    assert.ok(statSync(join(folder, tarball)).size < 5_000_000);
    const prefix = join(folder, 'prefix');
    const words = [
      'install',
      '--global',
      '--offline',
      '--no-audit',
      '--prefix',
      prefix,
      join(folder, tarball),
    ];
    const installed = await startChild('npm', words, env, options).done;
    assert.equal(installed.status, 0, installed.stderr);
    program = join(prefix, 'bin/mint-ssh');
    world = await makeWorld({ program, environment: { PATH: path } });
  });
  after(async () => {
    await world?.end();
    rmSync(folder, { recursive: true, force: true });
  });

  test('prints its version, and ssh logs in through it', async (context) => {
    const { status, stdout, stderr } = await world.mint('--version');
    assert.equal(status, 0, stderr);
    assert.match(stdout, /^mint-ssh \d/);
    const first = await world.ssh('dev', 'echo hello');
    assert.deepEqual([first.status, first.stdout], [0, 'hello\n'], first.stderr);
    const again = await world.ssh('dev', 'true');
    assert.equal(again.status, 0, again.stderr);
    const start = await world.mint('--version');
    context.diagnostic(
      `start ${Math.round(start.milliseconds)} ms, login ${Math.round(again.milliseconds)} ms`,
    );
  });

  test('ssh_config names the installed program', () => {
    const blocks = world.file('ssh_config') ?? '';
    assert.match(blocks, /ProxyCommand "[^"]*\/lib\/node_modules\/mint-ssh\/bin\/mint-ssh" proxy /);
  });
});
