/** The npm package: packed, installed into a clean prefix, and used with the Node of the machine. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { startChild } from '../openssh/child.ts';
import { makeWorld, type World } from '../openssh/world.ts';
import { linkPrograms, testPath } from '../programs.ts';

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

  describe('started by a program whose PATH is not the shell’s', () => {
    let withoutNode: string;
    const record = () => join(world.configDir, 'node');
    const login = async (PATH: string) => {
      await world.mint('agent', 'stop');
      return await world.startSsh(['dev', 'echo hello'], { env: { PATH } }).done;
    };
    before(() => {
      withoutNode = join(folder, 'programs');
      linkPrograms(withoutNode, ['node']);
    });

    test('it runs in the Node in which ssh-config ran', async () => {
      assert.equal(readFileSync(record(), 'utf8'), `${process.execPath}\n`);
      const { status, stdout, stderr } = await login(withoutNode);
      assert.deepEqual([status, stdout], [0, 'hello\n'], stderr);
    });

    test('where that Node is gone it takes the one in PATH, or says that there is none', async () => {
      const gone = join(folder, 'removed/bin/node');
      writeFileSync(record(), `${gone}\n`);
      const found = await login(path);
      assert.deepEqual([found.status, found.stdout], [0, 'hello\n'], found.stderr);
      const { status, stderr } = await login(withoutNode);
      assert.equal(status, 255);
      assert.ok(
        stderr.includes(`mint-ssh: error: ${gone} is gone, and PATH has no node (io-failed)\n`),
        stderr,
      );
      assert.match(stderr, /mint-ssh: hint: install Node\.js 22\.14 or newer, .*: mint-ssh ssh-config\r?\n/);
    });

    test('an older Node in PATH is named with its version, and the next ssh-config records its own again', async () => {
      const old = join(folder, 'old');
      mkdirSync(old);
      writeFileSync(join(old, 'node'), '#!/bin/sh\necho v18.19.0\n', { mode: 0o755 });
      const { stderr } = await login(`${old}:${withoutNode}`);
      assert.match(stderr, /error: \S*\/old\/node is v18\.19\.0 \(io-failed\)/);
      const { status } = await world.mint('ssh-config', '--yes', '--file', world.sshConfigFile);
      assert.equal(status, 0);
      assert.equal(readFileSync(record(), 'utf8'), `${process.execPath}\n`);
    });
  });
});
