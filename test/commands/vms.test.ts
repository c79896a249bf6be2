import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { makeWorld, type World } from '../openssh/world.ts';

describe('vms, without any settings', { timeout: 300_000 }, () => {
  let world: World;
  before(async () => {
    world = await makeWorld({
      vms: {},
      withoutSshConfig: true,
      environment: { AWS_REGION: undefined, AWS_DEFAULT_REGION: undefined },
    });
  });
  after(() => world.end());

  test('reports why it could not ask AWS, instead of an empty list', async () => {
    const { status, stdout, stderr } = await world.mint('vms');
    assert.equal(status, 2);
    assert.equal(stdout, '');
    assert.match(
      stderr,
      /error: no AWS region is set \(bad-settings\)\nmint-ssh: hint: set region in ssh\.toml/,
    );
    assert.doesNotMatch(stderr, /AWS shows none/);
  });
});
