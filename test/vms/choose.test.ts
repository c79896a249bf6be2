import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { VmDescription } from '../../src/aws/requests.ts';
import { MintError } from '../../src/errors.ts';
import { choose } from '../../src/vms/choose.ts';

let count = 0;
const nextId = () => {
  count += 1;
  return `i-${String(count).padStart(17, '0')}`;
};
const shown = (more: Partial<VmDescription>): VmDescription => ({
  instanceId: nextId(),
  state: 'running',
  account: '123456789012',
  region: 'us-east-1',
  availabilityZone: 'us-east-1a',
  launchTime: '2026-01-02T03:04:05.000Z',
  ...more,
});

const asked = { name: 'dev', owner: 'me', byNameTag: false };
const code = (expected: string, form?: RegExp) => (error: unknown) => {
  assert.ok(error instanceof MintError);
  assert.equal(error.code, expected);
  if (form !== undefined) assert.match(`${error.message} ${error.hint}`, form);
  return true;
};

test('chooses the caller’s own VM, even if another owner has one of that name', () => {
  const own = shown({ name: 'dev', owner: 'me' });
  const others = [
    shown({ name: 'dev', owner: 'you' }),
    shown({ name: 'dev' }),
    shown({ name: 'dev-2', owner: 'me' }),
  ];
  assert.equal(choose([...others, own], asked).instance, own.instanceId);
});

test('names that differ only in case are the same name, and two of them are ambiguous', () => {
  const upper = shown({ name: 'Dev', owner: 'me' });
  assert.equal(choose([upper], asked).name, 'dev');
  const lower = shown({ name: 'dev', owner: 'me', state: 'stopped' });
  const both = new RegExp(`${upper.instanceId} \\(Dev, running.*${lower.instanceId} \\(dev, stopped`);
  assert.throws(() => choose([upper, lower], asked), code('vm-ambiguous', both));
});

test('ignores instances that are terminated or shutting down', () => {
  const own = shown({ name: 'dev', owner: 'me', state: 'stopped' });
  const gone = (['terminated', 'shutting-down'] as const).map((state) =>
    shown({ name: 'dev', owner: 'me', state }),
  );
  assert.equal(choose([...gone, own], asked).instance, own.instanceId);
  assert.throws(() => choose(gone, asked), code('vm-not-found'));
});

test('names another owner’s VM in the error, and does not choose it', () => {
  const theirs = shown({ name: 'dev', owner: 'you\u202e' });
  assert.throws(
    () => choose([theirs], asked),
    code('vm-not-found', /belongs to you\\u\{202e\}.*instance = /),
  );
});

test('an empty owner owns no VM', () => {
  assert.throws(
    () => choose([shown({ name: 'dev', owner: '' })], { ...asked, owner: '' }),
    code('vm-not-found'),
  );
});

test('uses the Name tag if the user allowed it, after Mint’s tag', () => {
  const named = shown({ nameTag: 'Dev' });
  assert.throws(() => choose([named], asked), code('vm-not-found'));
  const allowed = { ...asked, byNameTag: true };
  assert.equal(choose([named], allowed).found, 'name-tag');
  const own = shown({ name: 'dev', owner: 'me' });
  assert.equal(choose([named, own], allowed).instance, own.instanceId);
  assert.throws(() => choose([named, shown({ nameTag: 'dev' })], allowed), code('vm-ambiguous'));
});

test('lists only some of very many instances', () => {
  const many = Array.from({ length: 50 }, () => shown({ name: 'dev', owner: 'me' }));
  assert.throws(() => choose(many, asked), code('vm-ambiguous', /50 instances.* and 40 more/));
});
