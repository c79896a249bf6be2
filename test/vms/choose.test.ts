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

test('the caller’s own VM counts, whoever else has one of that name', () => {
  const own = shown({ name: 'dev', owner: 'me' });
  const others = [
    shown({ name: 'dev', owner: 'you' }),
    shown({ name: 'dev' }),
    shown({ name: 'dev-2', owner: 'me' }),
  ];
  assert.equal(choose([...others, own], asked).instance, own.instanceId);
});

test('names in another case are the same name, and two of them are one too many', () => {
  const upper = shown({ name: 'Dev', owner: 'me' });
  assert.equal(choose([upper], asked).name, 'dev');
  const lower = shown({ name: 'dev', owner: 'me', state: 'stopped' });
  const both = new RegExp(`${upper.instanceId} \\(Dev, running.*${lower.instanceId} \\(dev, stopped`);
  assert.throws(() => choose([upper, lower], asked), code('vm-ambiguous', both));
});

test('what is terminated, or about to be, is nobody’s VM', () => {
  const own = shown({ name: 'dev', owner: 'me', state: 'stopped' });
  const gone = (['terminated', 'shutting-down'] as const).map((state) =>
    shown({ name: 'dev', owner: 'me', state }),
  );
  assert.equal(choose([...gone, own], asked).instance, own.instanceId);
  assert.throws(() => choose(gone, asked), code('vm-not-found'));
});

test('another owner’s VM is named, not taken', () => {
  const theirs = shown({ name: 'dev', owner: 'you\u202e' });
  assert.throws(
    () => choose([theirs], asked),
    code('vm-not-found', /belongs to you\\u\{202e\}.*instance = /),
  );
});

test('an owner that is nobody owns nothing', () => {
  assert.throws(
    () => choose([shown({ name: 'dev', owner: '' })], { ...asked, owner: '' }),
    code('vm-not-found'),
  );
});

test('the Name tag counts where a person said so, and after Mint’s', () => {
  const named = shown({ nameTag: 'Dev' });
  assert.throws(() => choose([named], asked), code('vm-not-found'));
  const allowed = { ...asked, byNameTag: true };
  assert.equal(choose([named], allowed).found, 'name-tag');
  const own = shown({ name: 'dev', owner: 'me' });
  assert.equal(choose([named, own], allowed).instance, own.instanceId);
  assert.throws(() => choose([named, shown({ nameTag: 'dev' })], allowed), code('vm-ambiguous'));
});

test('of very many only some are listed', () => {
  const many = Array.from({ length: 50 }, () => shown({ name: 'dev', owner: 'me' }));
  assert.throws(() => choose(many, asked), code('vm-ambiguous', /50 instances.* and 40 more/));
});
