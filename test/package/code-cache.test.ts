import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { root } from './packaging.ts';

const dist = join(root, 'dist');
const { execArgv, assets } = JSON.parse(readFileSync(join(dist, 'sea.json'), 'utf8')) as {
  execArgv: string[];
  assets: Record<string, string>;
};
const parts = Object.keys(assets).flatMap((name) => /^(.+)\.cache$/.exec(name)?.slice(1) ?? []);

const look = `
  const { readFileSync } = require('node:fs');
  const { Script } = require('node:vm');
  const [part] = process.argv.slice(1);
  const text = readFileSync(part + '.cjs', 'latin1');
  const cachedData = readFileSync(part + '.cache');
  console.log(String(new Script(text, { filename: part + '.cjs', cachedData }).cachedDataRejected));`;

function rejected(part: string, options: readonly string[]): string {
  const words = [...options, '-e', look, join(dist, part)];
  return execFileSync(process.execPath, words, { encoding: 'utf8', timeout: 60_000 }).trim();
}

test('the executable carries the compiled form of each part that a login waits for, and V8 accepts it', () => {
  const sdks = ['credentials-sdk', 'ec2-sdk', 'push-sdk'];
  assert.deepEqual(parts.sort(), ['agent', 'credentials', 'main', 'proxy', ...sdks].sort());
  for (const part of parts) assert.equal(rejected(part, execArgv), 'false', part);
});

test('of EC2’s schemas, only those of the calls that Mint makes are in the executable', () => {
  const sdk = readFileSync(join(dist, 'ec2-sdk.cjs'), 'latin1');
  assert.match(sdk, /DescribeInstancesRequest/);
  assert.doesNotMatch(sdk, /CreateVpcRequest|TransitGatewayRoute/);
});

test('the parts that a login starts hold nothing of the other commands', () => {
  const kilobytes = (part: string) => statSync(join(dist, `${part}.cjs`)).size / 1000;
  assert.ok(kilobytes('proxy') < 110, `${kilobytes('proxy')} KB`);
  assert.ok(kilobytes('credentials') < 80, `${kilobytes('credentials')} KB`);
});

test('V8 rejects a compiled form that was made with other options, and this test notices', () => {
  assert.equal(rejected('proxy', [...execArgv, '--no-opt']), 'true');
});

/** Runs a part in plain Node, where taking another part out of the executable throws. */
const start = `
  const { readFileSync } = require('node:fs');
  const [file, ...words] = process.argv.slice(1);
  process.argv = [process.argv[0], 'mint-ssh', ...words];
  const { runInThisContext } = require('node:vm');
  runInThisContext(readFileSync(file, 'latin1'))({}, process.getBuiltinModule, { exports: {} }, file, '.');`;

test('a part that a login starts loads no library before it needs one', () => {
  const nowhere = join(tmpdir(), 'mint-ssh-no-such-directory');
  const run = (part: string, words: readonly string[]) =>
    spawnSync(process.execPath, ['-e', start, join(dist, `${part}.cjs`), ...words, '--config-dir', nowhere], {
      encoding: 'utf8',
      timeout: 60_000,
    });
  const agent = run('agent', ['agent', 'status']);
  assert.equal(agent.status, 1);
  assert.match(agent.stderr, /^mint-ssh: no agent runs$/m);
  const proxy = run('proxy', ['proxy']);
  assert.match(proxy.stderr, /missing argument: VM \(usage\)/);
});
