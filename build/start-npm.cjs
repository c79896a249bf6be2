'use strict';
/**
 * The npm package's program: runs the parts of the executable (bundle.ts) in the user's own Node, which start-npm.sh
 * starts. The parts take each other out of `node:sea`; here that is the folder beside this one.
 */
const { mkdirSync, readFileSync, renameSync, statSync, writeFileSync } = require('node:fs');
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
const [, , word, subcommand] = process.argv;
const isDryRun = process.argv.includes('--dry-run');
if (
  word === 'setup' ||
  (word === 'ssh-config' && !isDryRun) ||
  (word === 'agent' && subcommand === 'install')
) {
  recordNode();
}
// What ssh and the agent are to start: start-npm.sh.
process.execPath = join(__dirname, 'mint-ssh');
// Started as `node bin/start.cjs` it lacks the option that keeps Node's debugger closed.
if (!process.execArgv.includes('--disable-sigusr1')) process.on('SIGUSR1', () => {});
enableCompileCache();

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

/** The commands that make other programs start mint-ssh leave the path of this Node to start-npm.sh. */
function recordNode() {
  try {
    const option = process.argv.indexOf('--config-dir');
    const given = option < 0 ? undefined : process.argv[option + 1];
    const directory = given ?? (process.env.MINT_CONFIG_DIR || join(homedir(), '.config/mint'));
    const record = join(directory, 'node');
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    writeFileSync(`${record}.${process.pid}`, `${process.execPath}\n`, { mode: 0o600 });
    renameSync(`${record}.${process.pid}`, record);
  } catch {
    // The command itself reports a directory that cannot be written. PATH leads to Node then.
  }
}
