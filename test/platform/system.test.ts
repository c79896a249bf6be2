/** What differs between systems. The values of Windows can be looked at here; its system calls are run by test/windows. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { test } from 'node:test';
import { unix } from '../../src/platform/system/unix.ts';
import { windows } from '../../src/platform/system/windows.ts';

test('each system takes its own absolute paths in ssh.toml, and no other', () => {
  const ofBoth = ['~/x'];
  const ofUnix = ['/tmp/x'];
  const ofWindows = ['C:\\x', 'c:/x', '\\\\.\\pipe\\x', '//server/x'];
  const ofNone = ['x', './x', '~user/x', '/a\nb', 'C:\\a\nb', ''];
  for (const path of [...ofBoth, ...ofUnix]) assert.match(path, unix.pathForm);
  for (const path of [...ofBoth, ...ofWindows]) assert.match(path, windows.pathForm);
  for (const path of [...ofNone, 'C:\\x']) assert.doesNotMatch(path, unix.pathForm);
  for (const path of [...ofNone, '/tmp/x']) assert.doesNotMatch(path, windows.pathForm);
});

test('only Windows takes two spellings of a variable for one', () => {
  assert.equal(windows.variableName('Aws_Profile'), 'AWS_PROFILE');
  assert.equal(unix.variableName('Aws_Profile'), 'Aws_Profile');
});

test('on Unix a process of ours starts without core files and without what a shell exports', () => {
  const run = (keepsEnvironment: boolean) => {
    const { file, words } = unix.start('printenv', [], keepsEnvironment);
    const { stdout } = spawnSync(file, words, {
      env: { PATH: process.env['PATH'], PWD: '/', SHLVL: '1', KEPT: 'yes' },
      encoding: 'utf8',
    });
    return stdout.split('\n').filter((line) => line !== '');
  };
  assert.deepEqual(run(false).sort(), ['KEPT=yes', `PATH=${process.env['PATH']}`]);
  assert.ok(run(true).includes('KEPT=yes'));
  const { file, words } = unix.start('sh', ['-c', 'ulimit -c; echo "$1"', 'sh', 'a "b" $c'], false);
  assert.equal(spawnSync(file, words, { encoding: 'utf8' }).stdout, '0\na "b" $c\n');
  assert.deepEqual(windows.start('C:\\m.exe', ['a b'], false), { file: 'C:\\m.exe', words: ['a b'] });
});

test('the null device is recognized, and a closed descriptor is an error on both systems', () => {
  const open = (path: string) => openSync(path, 'r');
  const [nowhere, somewhere] = [open('/dev/null'), open('/dev/zero')];
  assert.equal(unix.isNullDevice(nowhere), true);
  assert.equal(unix.isNullDevice(somewhere), false);
  assert.equal(windows.isNullDevice(nowhere), false);
  closeSync(nowhere);
  closeSync(somewhere);
  for (const each of [unix, windows]) assert.throws(() => each.isNullDevice(nowhere), { code: 'EBADF' });
});
