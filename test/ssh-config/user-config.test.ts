import assert from 'node:assert/strict';
import {
  chmodSync,
  chownSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { readUserConfig, userConfigPath, writeUserConfig } from '../../src/ssh-config/user-config.ts';
import { needsRoot, ownDirectory, refusal } from '../platform/directory.ts';

const bytes = Buffer.from('# new\n');

test('uses the file that ssh reads, by the passwd entry', () => {
  const { homedir: home } = userInfo();
  assert.equal(userConfigPath(undefined, { HOME: home }), join(home, '.ssh/config'));
  assert.equal(userConfigPath(undefined, {}), join(home, '.ssh/config'));
  assert.equal(userConfigPath('some/file', { HOME: '/elsewhere' }), join(process.cwd(), 'some/file'));
  assert.throws(
    () => userConfigPath(undefined, { HOME: '/elsewhere' }),
    refusal('usage', /HOME is "\/elsewhere"/),
  );
});

test('accepts another path to the same home directory', (context) => {
  const home = userInfo().homedir;
  assert.equal(userConfigPath(undefined, { HOME: `${home}/.` }), join(home, '.ssh/config'));
  // Some service users have no home directory for a link.
  if (!existsSync(home)) return;
  const link = join(ownDirectory(context), 'home');
  symlinkSync(home, link);
  assert.equal(userConfigPath(undefined, { HOME: link }), join(home, '.ssh/config'));
});

test('creates a missing file with 0600 in a directory with 0700', (context) => {
  const path = join(ownDirectory(context), '.ssh', 'config');
  writeUserConfig(readUserConfig(path), bytes);
  assert.deepEqual(readFileSync(path), bytes);
  assert.equal(statSync(path).mode & 0o777, 0o600);
  assert.equal(statSync(join(path, '..')).mode & 0o777, 0o700);
});

test('keeps the mode of the file', (context) => {
  const path = join(ownDirectory(context), 'config');
  writeFileSync(path, 'x');
  chmodSync(path, 0o644);
  writeUserConfig(readUserConfig(path), bytes);
  assert.equal(statSync(path).mode & 0o777, 0o644);
});

test('keeps a link, and replaces its target', (context) => {
  const directory = ownDirectory(context);
  mkdirSync(join(directory, 'dotfiles'), { mode: 0o700 });
  writeFileSync(join(directory, 'dotfiles/ssh'), 'old');
  symlinkSync('dotfiles/ssh', join(directory, 'config'));
  writeUserConfig(readUserConfig(join(directory, 'config')), bytes);
  assert.equal(readlinkSync(join(directory, 'config')), 'dotfiles/ssh');
  assert.deepEqual(readFileSync(join(directory, 'dotfiles/ssh')), bytes);
});

test('does not follow a link into a directory that others can write to', (context) => {
  const directory = ownDirectory(context);
  for (const mode of [0o777, 0o1777, 0o770]) {
    const open = join(directory, `open${mode}`);
    mkdirSync(open);
    chmodSync(open, mode);
    writeFileSync(join(open, 'ssh'), 'old');
    symlinkSync(join(open, 'ssh'), join(directory, `config${mode}`));
    assert.throws(() => readUserConfig(join(directory, `config${mode}`)), refusal('unsafe-permissions'));
    assert.throws(() => readUserConfig(join(open, 'missing')), refusal('unsafe-permissions'));
  }
});

test('refuses a broken link, a hard link, a directory and a file that others can write to', (context) => {
  const directory = ownDirectory(context);
  const at = (name: string) => join(directory, name);
  symlinkSync(at('nowhere'), at('dangling'));
  assert.throws(() => readUserConfig(at('dangling')), refusal('ssh-config-unsafe', /broken symbolic link/));
  writeFileSync(at('one'), 'x');
  linkSync(at('one'), at('two'));
  const linked = readUserConfig(at('one'));
  assert.equal(linked.bytes?.toString(), 'x');
  assert.throws(() => writeUserConfig(linked, Buffer.from('y')), refusal('ssh-config-unsafe', /hard link/));
  mkdirSync(at('directory'));
  assert.throws(() => readUserConfig(at('directory')), refusal('unsafe-permissions', /regular/));
  writeFileSync(at('open'), 'x');
  chmodSync(at('open'), 0o664);
  assert.throws(() => readUserConfig(at('open')), refusal('unsafe-permissions', /written by others/));
});

test("refuses another user's file, root's too, also through a link", { skip: needsRoot }, (context) => {
  const directory = ownDirectory(context);
  writeFileSync(join(directory, 'theirs'), 'x', { mode: 0o644 });
  chownSync(join(directory, 'theirs'), 65_534, 65_534);
  symlinkSync(join(directory, 'theirs'), join(directory, 'link'));
  assert.throws(
    () => readUserConfig(join(directory, 'theirs')),
    refusal('unsafe-permissions', /another user/),
  );
  assert.throws(() => readUserConfig(join(directory, 'link')), refusal('unsafe-permissions', /another user/));
});

test('does not replace a read-only file', (context) => {
  const path = join(ownDirectory(context), 'config');
  writeFileSync(path, 'mine');
  chmodSync(path, 0o400);
  assert.throws(() => writeUserConfig(readUserConfig(path), bytes), refusal('io-failed', /read-only/));
  assert.equal(readFileSync(path, 'utf8'), 'mine');
});

test('does not overwrite a concurrent change', (context) => {
  const directory = ownDirectory(context);
  const path = join(directory, 'config');
  const missing = readUserConfig(path);
  writeFileSync(path, 'one', { mode: 0o600 });
  assert.throws(() => writeUserConfig(missing, bytes), refusal('io-failed', /changed while/));
  const one = readUserConfig(path);
  writeFileSync(path, 'two');
  assert.throws(() => writeUserConfig(one, bytes), refusal('io-failed', /changed while/));
  assert.throws(() => writeUserConfig(one, undefined), refusal('io-failed', /changed while/));
  assert.equal(readFileSync(path, 'utf8'), 'two');
  const two = readUserConfig(path);
  unlinkSync(path);
  assert.throws(() => writeUserConfig(two, bytes), refusal('io-failed', /changed while/));
  assert.equal(lstatSync(path, { throwIfNoEntry: false }), undefined);
});

test('does not write if the link was changed in between', (context) => {
  const directory = ownDirectory(context);
  for (const name of ['a', 'b']) writeFileSync(join(directory, name), 'same', { mode: 0o600 });
  symlinkSync('a', join(directory, 'config'));
  const read = readUserConfig(join(directory, 'config'));
  unlinkSync(join(directory, 'config'));
  symlinkSync('b', join(directory, 'config'));
  assert.throws(() => writeUserConfig(read, bytes), refusal('io-failed', /changed while/));
  assert.equal(readFileSync(join(directory, 'a'), 'utf8'), 'same');
});
