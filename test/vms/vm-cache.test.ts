import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type Paths, resolvePaths } from '../../src/platform/paths.ts';
import type { LocatedVm } from '../../src/vms/located-vm.ts';
import { scopeKey } from '../../src/vms/names.ts';
import { parseScopes, VmCache } from '../../src/vms/vm-cache.ts';
import { ownDirectory } from '../platform/directory.ts';

const vm: LocatedVm = {
  name: 'dev',
  spelling: undefined,
  found: 'tag',
  instance: 'i-0123456789abcdef0',
  state: 'running',
  account: '123456789012',
  region: 'us-east-1',
  owner: 'me',
  bootstrap: undefined,
  publicAddress: '203.0.113.7',
  privateAddress: undefined,
  ipv6: '2001:db8::1',
  vpc: 'vpc-0a',
  subnet: undefined,
  zone: 'us-east-1a',
  keyName: undefined,
  isMint: false,
  image: 'ami-0123456789abcdef0',
  user: 'ec2-user',
  namesakes: undefined,
  seenAt: 1_700_000_000_000,
};

const pathsOf = (context: TestContext): Paths => resolvePaths({ configDir: ownDirectory(context) });
const fileOf = (paths: Paths) => join(paths.cache, 'vms.json');

test('the next process reads the cache, from a file that only the user can read', (context) => {
  const paths = pathsOf(context);
  const cache = new VmCache(paths);
  cache.change('one', ({ vms }) => vms.set('dev', vm));
  cache.flush();
  assert.deepEqual(new VmCache(paths).scope('one').vms.get('dev'), vm);
  assert.equal(new VmCache(paths).scope('other').vms.get('dev'), undefined);
  assert.equal(statSync(fileOf(paths)).mode & 0o777, 0o600);
});

test('two processes that write at the same time keep each other’s entries', (context) => {
  const paths = pathsOf(context);
  const [one, other] = [new VmCache(paths), new VmCache(paths)];
  one.change('scope', ({ vms }) => vms.set('dev', vm));
  other.change('scope', ({ vms }) => vms.set('build', { ...vm, name: 'build' }));
  one.flush();
  other.flush();
  assert.deepEqual([...one.scope('scope').vms.keys()].sort(), ['build', 'dev']);
});

test('a damaged cache is ignored, and replaced by the next write', (context) => {
  const paths = pathsOf(context);
  mkdirSync(paths.cache, { recursive: true, mode: 0o700 });
  const bytes = [
    '',
    '{',
    'null',
    '[]',
    '{"version":2,"scopes":{}}',
    '{"version":1,"scopes":3}',
    '\0'.repeat(100),
  ];
  for (const text of bytes) {
    writeFileSync(fileOf(paths), text, { mode: 0o600 });
    const cache = new VmCache(paths);
    assert.equal(cache.scope('one').vms.size, 0, text);
    cache.change('one', ({ vms }) => vms.set('dev', vm));
    cache.flush();
    assert.deepEqual(new VmCache(paths).scope('one').vms.get('dev'), vm, text);
  }
});

test('a damaged entry is dropped, and the others are kept', () => {
  const bad: Record<string, unknown> = {
    state: { ...vm, state: 'flying' },
    instance: { ...vm, instance: 'i-../../x' },
    found: { ...vm, found: 'luck' },
    time: { ...vm, seenAt: 'now' },
    text: 'dev',
    nothing: null,
    ['x'.repeat(64)]: vm,
  };
  const scopes = parseScopes(JSON.stringify({ version: 1, scopes: { one: { vms: { ...bad, dev: vm } } } }));
  assert.deepEqual([...(scopes.get('one')?.vms.keys() ?? [])], ['dev']);
});

test('text that is not an address is dropped', () => {
  const odd = { ...vm, publicAddress: 'evil.example', privateAddress: '10.0.0.1;id', ipv6: '-oX' };
  const scopes = parseScopes(JSON.stringify({ version: 1, scopes: { one: { vms: { dev: odd } } } }));
  const { publicAddress, privateAddress, ipv6 } = scopes.get('one')?.vms.get('dev') ?? {};
  assert.deepEqual([publicAddress, privateAddress, ipv6], [undefined, undefined, undefined]);
});

test('a cache that others can write to is ignored', (context) => {
  const paths = pathsOf(context);
  mkdirSync(paths.cache, { recursive: true, mode: 0o700 });
  writeFileSync(fileOf(paths), JSON.stringify({ version: 1, scopes: { one: { vms: { dev: vm } } } }));
  chmodSync(fileOf(paths), 0o600);
  assert.equal(new VmCache(paths).scope('one').vms.size, 1);
  chmodSync(fileOf(paths), 0o666);
  assert.equal(new VmCache(paths).scope('one').vms.size, 0);
});

test('does not fail if the cache cannot be written', (context) => {
  const paths = pathsOf(context);
  writeFileSync(paths.cache, 'a file in its place');
  const cache = new VmCache(paths);
  cache.change('one', ({ vms }) => vms.set('dev', vm));
  cache.flush();
  assert.equal(readFileSync(paths.cache, 'utf8'), 'a file in its place');
});

test('callers, profiles and regions do not share answers, and secrets are not part of the key', () => {
  const base = { AWS_ACCESS_KEY_ID: 'AKIA1', AWS_SECRET_ACCESS_KEY: 's', HOME: '/home/me' };
  const key = scopeKey(base, {});
  assert.notEqual(scopeKey({ ...base, AWS_ACCESS_KEY_ID: 'AKIA2' }, {}), key);
  assert.notEqual(scopeKey({ ...base, HOME: '/home/you' }, {}), key);
  assert.notEqual(scopeKey({ ...base, AWS_PROFILE: 'work' }, {}), key);
  assert.notEqual(scopeKey(base, { profile: 'work' }), key);
  assert.notEqual(scopeKey(base, { region: 'eu-west-1' }), scopeKey(base, { profile: 'eu-west-1' }));
  assert.equal(
    scopeKey({ ...base, AWS_SECRET_ACCESS_KEY: 't', AWS_SESSION_TOKEN: 'u', PATH: '/x' }, {}),
    key,
  );
});
