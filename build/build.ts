/**
 * Bundles the program and makes the single executable `dist/mint-ssh` for this machine.
 *
 * The main bundle holds what commands need at once; what is heavy and lives in a thread (the AWS SDK) is a
 * bundle of its own, kept in the executable as an asset. See https://nodejs.org/api/single-executable-applications.html.
 * The manual page and the shells' completion are made beside it.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type BuildOptions, build, type Plugin } from 'esbuild';
import { inject } from 'postject';
import { bashCompletion } from '../src/cli/completion/bash.ts';
import { fishCompletion } from '../src/cli/completion/fish.ts';
import { zshCompletion } from '../src/cli/completion/zsh.ts';
import { commandWords, loadCommands } from '../src/cli/grammar.ts';
import { manualPage } from '../src/cli/man.ts';
import { commands } from '../src/commands/table.ts';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const dist = join(root, 'dist');
mkdirSync(dist, { recursive: true });

// Beside the program, and from the same table as its --help.
const texts = await loadCommands(commands);
const words = commandWords(texts);
writeFileSync(join(dist, 'mint-ssh.1'), manualPage(texts));
writeFileSync(join(dist, 'mint-ssh.bash'), bashCompletion(words));
writeFileSync(join(dist, 'mint-ssh.zsh'), zshCompletion(words));
writeFileSync(join(dist, 'mint-ssh.fish'), fishCompletion(words));

const shared: BuildOptions = {
  absWorkingDir: root,
  bundle: true,
  platform: 'node',
  target: `node${process.versions.node}`,
  format: 'cjs',
  minify: true,
  keepNames: true,
  legalComments: 'none',
  logLevel: 'warning',
  // CommonJS has no import.meta; the executable's own path stands in for the module's.
  define: { 'import.meta.url': 'moduleUrl', 'import.meta.dirname': '__dirname' },
  banner: { js: "const moduleUrl = require('node:url').pathToFileURL(__filename).href;" },
  // ssh2's optional native parts: pure JavaScript does here.
  external: ['cpu-features', '*.node'],
};

/** Packages that only the demo and `keys` need: the proxy, which starts on every connection, must not carry them. */
const chunks = ['ssh2', '@smithy/signature-v4', '@aws-crypto/sha256-js', 'sshpk', 'age-encryption'];

/** Where the main bundle imports a chunk's package, it loads the asset instead, at the moment it is needed. */
const loadChunks: Plugin = {
  name: 'load-chunks',
  setup({ onResolve, onLoad }) {
    const filter = new RegExp(`^(?:${chunks.join('|')})$`);
    onResolve({ filter }, ({ path }) => ({ path, namespace: 'chunk' }));
    onLoad({ filter: /.*/, namespace: 'chunk' }, ({ path }) => ({ contents: loadAsset(path) }));
  },
};

/** The SDK's clients that a push does not need: with them, an AWS worker starts 60 ms later. */
const ec2Sdk = 'src/aws/ec2-sdk.ts';

const loadEc2Sdk: Plugin = {
  name: 'load-ec2-sdk',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /\/ec2-sdk\.ts$/ }, () => ({ path: 'ec2-sdk', namespace: 'chunk' }));
    onLoad({ filter: /.*/, namespace: 'chunk' }, ({ path }) => ({ contents: loadAsset(path) }));
  },
};

/**
 * Parts of Node that take milliseconds to load (`crypto` five, `child_process` two) and that the proxy rarely
 * needs. A module that imports one of them has it loaded at the first use of one of its names.
 */
const late = [
  'node:crypto',
  'node:child_process',
  'node:http',
  'node:worker_threads',
  'node:sqlite',
  'node:vm',
];

const loadLate: Plugin = {
  name: 'load-late',
  setup({ onResolve, onLoad }) {
    const filter = new RegExp(`^(?:${late.join('|')})$`);
    onResolve({ filter }, ({ path }) => ({ path, namespace: 'late' }));
    onLoad({ filter: /.*/, namespace: 'late' }, ({ path }) => {
      const names = Object.keys(process.getBuiltinModule(path) ?? {});
      return {
        contents: `for (const name of ${JSON.stringify(names)}) Object.defineProperty(exports, name, {
          enumerable: true, get: () => process.getBuiltinModule('${path}')[name],
        });`,
      };
    });
  },
};

function loadAsset(path: string): string {
  return `const chunk = new (require('node:module').Module)('${path}');
    chunk._compile(require('node:sea').getAsset('${assetName(path)}', 'utf8'), '${path}');
    module.exports = chunk.exports;`;
}

function assetName(entry: string): string {
  return `${entry.replaceAll(/[@/]+/g, '-').replace(/^-/, '')}.cjs`;
}

await build({
  ...shared,
  entryPoints: ['src/main.ts'],
  outfile: 'dist/main.cjs',
  plugins: [loadChunks, loadLate],
});
// As ES modules the SDK's packages can be cut down to what is used.
const sdk: BuildOptions = { ...shared, mainFields: ['module', 'main'] };
await build({ ...sdk, entryPoints: ['src/aws/worker.ts'], outfile: 'dist/aws.cjs', plugins: [loadEc2Sdk] });
await build({ ...sdk, entryPoints: [ec2Sdk], outfile: 'dist/ec2-sdk.cjs' });
for (const chunk of chunks)
  await build({ ...shared, entryPoints: [chunk], outfile: `dist/${assetName(chunk)}` });

const seaConfig = {
  main: join(dist, 'main.cjs'),
  output: join(dist, 'mint-ssh.blob'),
  disableExperimentalSEAWarning: true,
  useCodeCache: true,
  // A small young generation, and one thread for V8's background work where it would start four: 4 MB less.
  execArgv: ['--max-semi-space-size=1', '--v8-pool-size=1'],
  // A NODE_OPTIONS meant for someone else's programs (an editor's debugger) has no business in here.
  execArgvExtension: 'none',
  assets: Object.fromEntries(
    ['aws.cjs', 'ec2-sdk.cjs', ...chunks.map(assetName)].map((name) => [name, join(dist, name)]),
  ),
};
const seaConfigFile = join(dist, 'sea.json');
writeFileSync(seaConfigFile, JSON.stringify(seaConfig));
execFileSync(process.execPath, ['--experimental-sea-config', seaConfigFile], {
  stdio: ['ignore', 'ignore', 'inherit'],
});

// Written beside and renamed: a running mint-ssh keeps the file it was started from.
const executable = join(dist, 'mint-ssh');
const unfinished = `${executable}.${process.pid}`;
copyFileSync(process.execPath, unfinished);
chmodSync(unfinished, 0o755);
// Symbols are a fifth of the file. After the injection it is too late: strip would break the executable.
const stripped = spawnSync('strip', [unfinished]);
if (stripped.status !== 0)
  process.stderr.write('build: no `strip` here, the executable stays larger than it needs to be\n');
await inject(unfinished, 'NODE_SEA_BLOB', readFileSync(seaConfig.output), {
  sentinelFuse: 'NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2',
});
renameSync(unfinished, executable);
