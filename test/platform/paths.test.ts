import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { homeDirectory, resolvePaths, vmPaths } from '../../src/platform/paths.ts';
import { socketPath } from '../../src/platform/sockets.ts';
import { ownDirectory, refusal } from './directory.ts';

test('the directory is the option, else MINT_CONFIG_DIR, else ~/.config/mint', () => {
  const environment = { HOME: '/home/someone', MINT_CONFIG_DIR: '/elsewhere' };
  assert.equal(resolvePaths({ configDir: '/option' }, environment).dir, '/option');
  assert.equal(resolvePaths({}, environment).dir, '/elsewhere');
  assert.equal(resolvePaths({}, { HOME: '/home/someone' }).dir, '/home/someone/.config/mint');
  assert.equal(resolvePaths({}, { MINT_CONFIG_DIR: '' }).dir, join(userInfo().homedir, '.config/mint'));
});

test('every path is absolute, also for a relative directory', () => {
  for (const path of Object.values(resolvePaths({ configDir: 'some/where' }, {}))) {
    assert.ok(path.startsWith(process.cwd()), path);
  }
});

test('run_dir of ssh.toml moves the sockets and the log, and nothing else', (context) => {
  const directory = ownDirectory(context);
  writeFileSync(join(directory, 'ssh.toml'), '# short\nrun_dir = "/short/run" # here\n');
  const paths = resolvePaths({ configDir: directory });
  assert.equal(paths.control, '/short/run/control.sock');
  assert.equal(paths.forward, '/short/run/forward.sock');
  assert.equal(paths.agentLog, '/short/run/agent.log');
  assert.equal(paths.hosts, join(directory, 'hosts'));
  assert.equal(resolvePaths({ configDir: directory, runDir: '/other' }).run, '/other');
});

test('dev and dev.json share no file, and neither do names that look like our endings', () => {
  const paths = resolvePaths({ configDir: '/c' });
  const names = ['dev', 'dev.json', 'dev.known_hosts', 'dev.sock', 'dev.json.json'];
  const files = names.flatMap((name) => {
    const own = vmPaths(paths, name);
    return [own.record, own.knownHosts, own.socket];
  });
  assert.equal(new Set(files).size, files.length);
});

test('a socket path that would be too long gets a short name, always the same', () => {
  const paths = resolvePaths({ configDir: `/${'d'.repeat(60)}` });
  const [one, other] = [`${'x'.repeat(50)}1`, `${'x'.repeat(50)}2`];
  const socket = vmPaths(paths, one).socket;
  assert.ok(Buffer.byteLength(socket) <= 103, socket);
  assert.equal(vmPaths(paths, one).socket, socket);
  assert.notEqual(vmPaths(paths, other).socket, socket);
  assert.match(socket, /\/_[\w-]{12}\.sock$/);
  assert.match(vmPaths(paths, 'dev').socket, /\/dev\.sock$/);
});

test('in a directory 90 characters deep files work, and sockets are refused with a remedy', () => {
  const paths = resolvePaths({ configDir: `/${'d'.repeat(89)}` });
  const own = vmPaths(paths, 'dev');
  assert.ok(own.record.endsWith('/hosts/dev.json'));
  assert.throws(() => own.socket, refusal('agent-unavailable', /too long for a socket/));
});

test('the length of a socket path is counted in bytes', () => {
  assert.equal(socketPath(`/${'x'.repeat(102)}`).length, 103);
  assert.throws(() => socketPath(`/${'x'.repeat(103)}`), refusal('agent-unavailable'));
  assert.throws(() => socketPath(`/${'é'.repeat(60)}`), refusal('agent-unavailable'));
});

test('uses the passwd entry if a shell has encoded HOME twice', (context) => {
  const directory = join(ownDirectory(context), 'Jörg');
  const encodedTwice = Buffer.from(directory, 'utf8').toString('latin1');
  assert.equal(homeDirectory({ HOME: encodedTwice }), userInfo().homedir);
  mkdirSync(directory);
  assert.equal(homeDirectory({ HOME: directory }), directory);
  assert.equal(homeDirectory({ HOME: '/not/there' }), '/not/there');
});
