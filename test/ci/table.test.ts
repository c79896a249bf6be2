/** Leases in DynamoDB, through the program itself: one machine holds a VM, another is refused, lists, ends and reaps. */
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { demoRegion } from '../cloud/cloud.ts';
import { mintProgram, type Result } from '../openssh/world.ts';
import { libfaketime } from '../programs.ts';
import { type DebugWorld, makeDebugWorld } from './debug-world.ts';
import { type Dynamo, startDynamo } from './dynamo.ts';

const leases = ['--leases', 'dynamodb:mint-leases'];

describe('two machines with one table of leases', { timeout: 300_000 }, () => {
  let dynamo: Dynamo;
  let debug: DebugWorld;
  before(async () => {
    dynamo = await startDynamo();
    debug = await makeDebugWorld({ environment: { AWS_ENDPOINT_URL_DYNAMODB: dynamo.endpoint } });
    mkdirSync(join(debug.world.directory, 'other'), { mode: 0o700 });
  });
  after(async () => {
    await debug.end();
    await dynamo.close();
  });

  /** Another machine, which has none of our files; its clock may show more. */
  const elsewhere = (words: readonly string[], later?: string): Promise<Result> =>
    debug.world.run(mintProgram, ['debug', ...words, ...leases], {
      env: {
        MINT_CONFIG_DIR: join(debug.world.directory, 'other'),
        ...(later === undefined ? {} : { LD_PRELOAD: libfaketime, FAKETIME: later }),
      },
      timeout: 90_000,
    });

  function instance(id: string): string {
    debug.world.cloud.instances.set(id, { id, region: demoRegion, state: 'running', address: '127.0.0.1' });
    return id;
  }
  const stateOf = (id: string) => debug.world.cloud.instances.get(id)?.state;

  test('without the table nothing is opened, and the hint has the command that makes it', async () => {
    const vm = await debug.begin('first');
    const early = await debug.world.mint(
      'debug',
      'open',
      'first',
      '--project',
      'web',
      '--print-key',
      '--destroy',
      debug.destroy,
      ...leases,
    );
    assert.match(
      early.stderr,
      /there is no DynamoDB table mint-leases .*\(bad-settings\)\n.*aws dynamodb create-table .*--table-name mint-leases /,
    );
    assert.equal(vm.sshd.accepted(), 0);
    await dynamo.makeTable('mint-leases');
  });

  test('the other machine is refused, sees who has it, and ends it', async () => {
    const id = instance('i-0123456789abcdef1');
    const holder = debug.open('first', 'web', '--instance', id, '--destroy', 'terminate', ...leases);
    const block = await debug.block(holder);
    assert.equal(block.end_outside, `mint-ssh debug end ${block.lease} --leases dynamodb:mint-leases`);
    assert.equal(debug.world.cloud.instances.get(id)?.shutdownBehaviour, 'terminate');
    const listed = await elsewhere(['list']);
    assert.match(
      listed.stdout,
      new RegExp(`^${block.lease}  web +first +open +20.* UTC  .*, pid \\d+$`, 'm'),
    );
    assert.equal((await elsewhere(['end', block.lease])).status, 0);
    assert.equal((await holder.done).status, 0);
    assert.equal(stateOf(id), 'terminated');
    assert.deepEqual(JSON.parse((await elsewhere(['list', '--json'])).stdout), []);
  });

  test('if the holder died, the other machine reaps in time, with EC2 alone', async () => {
    const id = instance('i-0123456789abcdef2');
    await debug.begin('second');
    // The holder's clock is three minutes behind ours, and AWS takes a signature that is five off.
    const words = [
      '--project',
      'web',
      '--print-key',
      '--instance',
      id,
      '--ttl',
      '2m',
      '--format',
      'json',
      ...leases,
    ];
    const holder = debug.world.start(mintProgram, ['debug', 'open', 'second', ...words], {
      env: { LD_PRELOAD: libfaketime, FAKETIME: '-3m' },
      timeout: 90_000,
    });
    const block = await debug.block(holder);
    holder.kill('SIGKILL');
    await holder.done;
    const early = await elsewhere(['reap', '--json']);
    assert.deepEqual([early.status, JSON.parse(early.stdout), stateOf(id)], [0, [], 'running'], early.stderr);
    const reaped = await elsewhere(['reap'], '+2m');
    assert.equal(reaped.status, 0, reaped.stderr);
    assert.match(reaped.stderr, new RegExp(`second \\(${block.lease}\\) is destroyed; its holder was `));
    assert.equal(stateOf(id), 'terminated');
    const terminations = () =>
      debug.world.cloud.requests.filter(({ operation }) => operation === 'TerminateInstances').length;
    const before = terminations();
    const again = await elsewhere(['reap', '--json'], '+3m');
    assert.deepEqual([again.status, JSON.parse(again.stdout)], [0, []], again.stderr);
    assert.equal(terminations(), before, 'it is closed');
    const other = await debug.world.mint('debug', 'list', '--json', ...leases);
    assert.deepEqual(JSON.parse(other.stdout), []);
  });
});
