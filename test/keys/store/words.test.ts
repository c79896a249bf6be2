/** Errors of `mint-ssh keys` and `mint-ssh key` for a wrong subcommand, mode or path. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { startChild } from '../../openssh/child.ts';
import { keysPlace, mainProgram } from './keys-program.ts';

describe('mint-ssh keys', () => {
  test('and mint-ssh key name each other if a subcommand belongs to the other one', async (context) => {
    const place = keysPlace(context);
    const add = await place.keys(['add', 'dev', 'line']);
    assert.equal(add.status, 2);
    assert.match(
      add.stderr,
      /unknown command: keys add \(usage\)\n.*hint: mint-ssh key add edits authorized_keys/,
    );
    const words = ['key', 'create', 'lab'];
    const create = await startChild(process.execPath, [mainProgram, ...words], place.env).done;
    assert.equal(create.status, 2);
    assert.match(
      create.stderr,
      /unknown command: key create \(usage\)\n.*hint: mint-ssh keys create manages the private keys/,
    );
    assert.match((await place.keys(['frobnicate'])).stderr, /unknown command: keys frobnicate \(usage\)/);
  });

  test('list ends with status 3 if others can read a key', async (context) => {
    const place = keysPlace(context);
    assert.equal((await place.keys(['create', 'lab'])).status, 0);
    chmodSync(join(place.store, 'lab'), 0o644);
    const { status, stderr } = await place.keys(['list']);
    assert.equal(status, 3);
    assert.match(stderr, /\(unsafe-permissions\)/);
  });

  test('export into a missing directory fails, with the command that creates it', async (context) => {
    const place = keysPlace(context);
    assert.equal((await place.keys(['create', 'lab'])).status, 0);
    const output = join(place.directory, 'not there', 'lab');
    const { status, stderr } = await place.keys(['export', 'lab', '--output', output]);
    assert.equal(status, 1);
    assert.match(stderr, /directory not found: ".*not there" \(io-failed\)\n.*hint: mkdir -p '.*not there'/);
    assert.equal(existsSync(join(place.directory, 'not there')), false);
  });

  test('share prints a command that imports the file', async (context) => {
    const place = keysPlace(context);
    assert.equal((await place.keys(['create', 'lab'])).status, 0);
    const identity = join(place.directory, 'key.txt');
    execFileSync('age-keygen', ['-o', identity], { stdio: 'ignore' });
    const recipient = execFileSync('age-keygen', ['-y', identity], { encoding: 'utf8' }).trim();
    const output = join(place.directory, 'for a colleague.age');
    const { stderr } = await place.keys(['share', 'lab', '--to', recipient, '--output', output]);
    const command = /mint-ssh (keys import .*)$/m.exec(stderr)?.[1] ?? '';
    const other = { ...place.env, MINT_CONFIG_DIR: join(place.directory, 'theirs') };
    const shell = ['-c', `cd '${place.directory}' && exec '${process.execPath}' '${mainProgram}' ${command}`];
    const imported = await startChild('/bin/sh', shell, other).done;
    assert.equal(imported.status, 0, `${command}: ${imported.stderr}`);
    assert.ok(existsSync(join(place.directory, 'theirs', 'keys', 'lab')));
  });
});
