import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MintError } from '../../src/errors.ts';
import { candidatesFor, requireCandidates } from '../../src/vms/candidates.ts';
import type { LocatedVm } from '../../src/vms/located-vm.ts';

const full: LocatedVm = {
  name: 'dev',
  found: 'tag',
  instance: 'i-0123456789abcdef0',
  state: 'running',
  account: '123456789012',
  region: 'us-east-1',
  publicAddress: '203.0.113.7',
  privateAddress: '10.0.0.7',
  ipv6: '2001:db8::7',
  vpc: 'vpc-0a',
  seenAt: 0,
};

type Route = Parameters<typeof candidatesFor>[1]['route'];

function ways(vm: LocatedVm, route: Route, host?: string): string[] {
  return candidatesFor(vm, { host, route, via: undefined }).map((way) => `${way.kind} ${way.host}`);
}

test('the candidates are public, private, endpoint; route selects among them', () => {
  const [ipv4, ipv6] = ['public 203.0.113.7', 'public 2001:db8::7'];
  const [inside, tunnel] = ['private 10.0.0.7', 'endpoint 10.0.0.7'];
  assert.deepEqual(ways(full, 'auto'), [ipv4, ipv6, inside, tunnel]);
  assert.deepEqual(ways(full, 'public'), [ipv4, ipv6]);
  assert.deepEqual(ways(full, 'private'), [inside]);
  assert.deepEqual(ways(full, 'endpoint'), [tunnel]);
});

test('a host of ssh.toml is the only candidate, for every answer of EC2 and every route', () => {
  for (const route of ['auto', 'public', 'private', 'endpoint'] as const) {
    assert.deepEqual(ways(full, route, 'dev.example'), ['public dev.example']);
  }
});

test('an endpoint uses the IPv6 address of an IPv6-only VM, and needs a known VPC', () => {
  const six = { ...full, publicAddress: undefined, privateAddress: undefined };
  assert.deepEqual(ways(six, 'auto'), ['public 2001:db8::7', 'endpoint 2001:db8::7']);
  assert.deepEqual(ways({ ...full, vpc: undefined }, 'endpoint'), []);
});

test('a VM without candidates is an error with a remedy', () => {
  const none = { ...full, publicAddress: undefined, privateAddress: undefined, ipv6: undefined };
  const cases: [Route, RegExp, RegExp][] = [
    ['auto', /dev \(i-0123456789abcdef0\) has no address$/, /set host for \[vm\.dev\]/],
    ['public', /has no public address$/, /set route for \[vm\.dev\]/],
    ['private', /has no private address$/, /"auto" uses the addresses/],
    ['endpoint', /has no address that an endpoint could reach$/, /set route/],
  ];
  for (const [route, message, hint] of cases) {
    assert.throws(
      () => requireCandidates(none, { host: undefined, route, via: undefined }),
      (error: unknown) => {
        assert.ok(error instanceof MintError && error.code === 'dial-failed');
        assert.match(error.message, message);
        assert.match(error.hint ?? '', hint);
        return true;
      },
    );
  }
});

test('via has one candidate, which the jump host connects to', () => {
  const through = (vm: LocatedVm, route: Route, host?: string) =>
    candidatesFor(vm, { host, route, via: 'bastion' }).map((one) => `${one.kind} ${one.host} ${one.via}`);
  assert.deepEqual(through(full, 'auto'), ['via 10.0.0.7 bastion']);
  assert.deepEqual(through(full, 'private'), ['via 10.0.0.7 bastion']);
  assert.deepEqual(through(full, 'public'), [`via ${full.publicAddress} bastion`]);
  assert.deepEqual(through(full, 'auto', 'dev.internal'), ['via dev.internal bastion']);
});
