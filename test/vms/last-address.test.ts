import assert from 'node:assert/strict';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { resolvePaths } from '../../src/platform/paths.ts';
import { LastAddresses, readLastAddress } from '../../src/vms/last-address.ts';
import { ownDirectory } from '../platform/directory.ts';

function setUp(t: Parameters<typeof ownDirectory>[0]) {
  const paths = resolvePaths({ configDir: ownDirectory(t) });
  const file = join(paths.cache, 'dev.address');
  const write = (text: string) => {
    mkdirSync(paths.cache, { recursive: true, mode: 0o700 });
    writeFileSync(file, text, { mode: 0o600 });
  };
  return { paths, file, write };
}

test('reads a noted address back, from a file that others cannot read', (t) => {
  const { paths, file } = setUp(t);
  const addresses = new LastAddresses(paths);
  for (const host of ['203.0.113.7', '2001:db8::7']) {
    addresses.note('dev', { host, port: 41_122 });
    assert.deepEqual(readLastAddress(paths, 'dev'), { host, port: 41_122 });
  }
  assert.equal(statSync(file).mode & 0o777, 0o600);
  assert.equal(readLastAddress(paths, 'other'), undefined);
});

test('writes a file only if the address changes, also between agents', (t) => {
  const { paths, file } = setUp(t);
  const address = { host: '203.0.113.7', port: 22 };
  new LastAddresses(paths).note('dev', address);
  const { ino } = statSync(file);
  new LastAddresses(paths).note('dev', address);
  assert.equal(statSync(file).ino, ino);
  new LastAddresses(paths).note('dev', { ...address, port: 23 });
  assert.equal(readFileSync(file, 'latin1'), '203.0.113.7 23\n');
});

test('refuses a name, which may resolve to another machine each time', (t) => {
  const { paths, file } = setUp(t);
  new LastAddresses(paths).note('dev', { host: 'dev.example.com', port: 22 });
  assert.equal(existsSync(file), false);
});

test('ignores a file that is not exactly an address and a port', (t) => {
  const { paths, write } = setUp(t);
  const good = '203.0.113.7 41122\n';
  write(good);
  assert.notEqual(readLastAddress(paths, 'dev'), undefined);
  const bad = [
    '',
    '\n',
    good.trim(),
    `${good}${good}`,
    ` ${good}`,
    '203.0.113.7 0\n',
    '203.0.113.7 65536\n',
    '203.0.113.7 -1\n',
    '203.0.113.7 1e3\n',
    '203.0.113.256 22\n',
    '203.0.113.7\t22\n',
    'fe80::1%eth0 22\n',
    'dev.example.com 22\n',
    '$(id) 22\n',
    '203.0.113.7 22\r\n',
    '203.0.113.7\0 22\n',
    `${'1'.repeat(45)} 22\n`,
    `${'\n'.repeat(5_000_000)}`,
  ];
  for (const text of bad) {
    write(text);
    assert.equal(readLastAddress(paths, 'dev'), undefined, JSON.stringify(text.slice(0, 40)));
  }
});

test('ignores a link, and a file that others can write to', (t) => {
  const { paths, file, write } = setUp(t);
  write('203.0.113.7 22\n');
  chmodSync(file, 0o666);
  assert.equal(readLastAddress(paths, 'dev'), undefined);
  chmodSync(file, 0o600);
  symlinkSync(file, join(paths.cache, 'linked.address'));
  assert.equal(readLastAddress(paths, 'linked'), undefined);
  assert.notEqual(readLastAddress(paths, 'dev'), undefined);
});

test('does not fail if the file cannot be written', (t) => {
  const { paths } = setUp(t);
  writeFileSync(paths.cache, 'in the way');
  new LastAddresses(paths).note('dev', { host: '203.0.113.7', port: 22 });
  assert.equal(readLastAddress(paths, 'dev'), undefined);
});
