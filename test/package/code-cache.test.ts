import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
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

test('what is waited for at each login is in the executable as V8 compiled it, and V8 takes it', () => {
  assert.deepEqual(parts.sort(), ['agent', 'aws', 'main', 'proxy']);
  for (const part of parts) assert.equal(rejected(part, execArgv), 'false', part);
});

test('an option that changes what V8 compiles has it refuse: this look can tell', () => {
  assert.equal(rejected('proxy', [...execArgv, '--no-opt']), 'true');
});
