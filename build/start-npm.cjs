#!/usr/bin/env -S node --disable-sigusr1 --max-semi-space-size=1 --v8-pool-size=1 --disable-warning=ExperimentalWarning
'use strict';
/**
 * The npm package's program: runs the parts of the executable (bundle.ts) in the user's own Node. The parts take each
 * other out of `node:sea`; here that is the folder beside this one.
 */
const { mkdirSync, readFileSync, statSync } = require('node:fs');
const { homedir } = require('node:os');
const { join } = require('node:path');

const parts = join(__dirname, '../parts');
const sea = {
  isSea: () => true,
  getAssetKeys: () => [],
  getAsset: (name, encoding) => readFileSync(join(parts, name), encoding),
  getRawAsset: (name) => readFileSync(join(parts, name)),
};
const builtin = process.getBuiltinModule.bind(process);
process.getBuiltinModule = (name) => (name === 'node:sea' ? sea : builtin(name));
// What ssh and the agent are to start: this file, by its first line.
process.execPath = __filename;
// Started as `node bin/mint-ssh` it lacks the option that keeps Node's debugger closed.
if (!process.execArgv.includes('--disable-sigusr1')) process.on('SIGUSR1', () => {});
enableCompileCache();

const word = process.argv[2];
const name = word === 'proxy' || word === 'agent' ? word : 'main';
const part = { exports: {} };
require(join(parts, `${name}.js`))(part.exports, process.getBuiltinModule, part, __filename, __dirname);

/** Compiled code is executed unchecked: the cache is a directory that no other user can write to, or there is none. */
function enableCompileCache() {
  try {
    const directory = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'mint-ssh');
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    const { uid, mode } = statSync(directory);
    if (uid !== process.getuid() || (mode & 0o022) !== 0) return;
    require('node:module').enableCompileCache(directory);
  } catch {
    // A read-only home: it starts a little slower.
  }
}
