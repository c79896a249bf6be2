/**
 * Bundles the program into the parts that the executable carries as assets (load-part.cjs takes them out): the
 * whole of it, what ssh waits for by itself, and a bundle for each library that is heavy and rarely needed.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type BuildOptions, type BuildResult, build, type Plugin } from 'esbuild';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** Commands that people wait for at each login: each is a part with nothing else in it. */
const waitedFor = ['proxy', 'agent', 'credentials'];

/** What main.ts loads where none of these commands was typed, or for the other commands. */
const notInParts = ['commands/front-door\\.ts', 'agent/control/share-credentials\\.ts'];

/** Packages that the proxy, which starts on every connection, must not carry: each is an asset. */
const chunks = [
  'ssh2',
  '@smithy/signature-v4',
  '@aws-crypto/sha256-js',
  'sshpk',
  'age-encryption',
  'yaml',
  'ws',
  'uqr',
  '@inquirer/core',
];

/**
 * The parts of the AWS SDK, by their modules in src/aws: each is loaded when it is first needed. V8 compiles beforehand
 * the ones that a login waits for.
 */
const sdks = {
  'push-sdk': 'whole',
  'credentials-sdk': 'outside',
  'ec2-sdk': 'outside',
  'dynamodb-sdk': undefined,
} as const;

/**
 * Parts of Node that take milliseconds to load (`crypto` five, `child_process` two, `https` ten) and that a proxy rarely
 * needs and an agent needs only after it has answered. A module that imports one of them has it loaded at the first use
 * of one of its names.
 */
const late = [
  'node:crypto',
  'node:child_process',
  'node:dns/promises',
  'node:http',
  'node:https',
  'node:tls',
  'node:worker_threads',
  'node:sqlite',
  'node:vm',
];

/** What `bundle` made, in the folder it was given. */
export interface Bundle {
  readonly folder: string;
  /** The script that the executable runs, a file name. */
  readonly main: string;
  /** File names: what `node:sea` hands out. */
  readonly assets: readonly string[];
  /** Those of them that V8 is to compile beforehand (code-cache.ts): with every function, or with what runs at once. */
  readonly compiled: Readonly<Record<string, 'whole' | 'outside'>>;
  /** The npm packages that are inside, as folders below the checkout, sorted. */
  readonly packages: readonly string[];
}

/** @param folder exists; files of an earlier bundle in it are replaced */
export async function bundle(folder: string): Promise<Bundle> {
  const shared = {
    absWorkingDir: root,
    bundle: true,
    platform: 'node',
    // The oldest Node that an executable is made from (package.json's optionalDependencies).
    target: 'node22.23',
    format: 'cjs',
    minify: true,
    legalComments: 'none',
    // The first import() of a thread starts Node's whole loader of ES modules; require() does for Node's own.
    supported: { 'dynamic-import': false },
    logLevel: 'warning',
    metafile: true,
    // CommonJS has no import.meta; the executable's own path replaces the module's.
    define: {
      'import.meta.url': 'moduleUrl',
      'import.meta.dirname': '__dirname',
      // ws would look for native helpers wherever Node looks for modules: it has its own JavaScript.
      'process.env.WS_NO_BUFFER_UTIL': '"1"',
      'process.env.WS_NO_UTF_8_VALIDATE': '"1"',
    },
    banner: { js: "const moduleUrl = require('node:url').pathToFileURL(__filename).href;" },
    // ssh2's optional native parts: pure JavaScript does here.
    external: ['cpu-features', '*.node'],
  } satisfies BuildOptions;
  // load-part.cjs calls a part as Node would call a module.
  const part = {
    banner: { js: `(function (exports, require, module, __filename, __dirname) {${shared.banner.js}` },
    footer: { js: '})' },
  };
  const main = {
    ...shared,
    ...part,
    entryPoints: ['src/main.ts'],
    plugins: [loadChunks, loadSdks, loadLate],
  };
  const results: BuildResult<{ metafile: true }>[] = [
    await build({ ...main, outfile: join(folder, 'main.cjs') }),
  ];
  for (const name of Object.keys(sdks))
    results.push(
      await build({
        ...shared,
        ...part,
        // As ES modules the SDK's packages can be cut down to what is used.
        mainFields: ['module', 'main'],
        entryPoints: [`src/aws/${name}.ts`],
        outfile: join(folder, assetName(name)),
        plugins: [plainKeys, ...(name === 'credentials-sdk' ? [] : [withoutProviders])],
      }),
    );
  for (const chunk of chunks)
    results.push(await build({ ...shared, entryPoints: [chunk], outfile: join(folder, assetName(chunk)) }));
  for (const command of waitedFor)
    results.push(
      await build({
        ...main,
        outfile: join(folder, `${command}.cjs`),
        plugins: [onlyCommand(command), ...main.plugins],
      }),
    );
  const loader = readFileSync(join(root, 'build/load-part.cjs'), 'utf8');
  writeFileSync(join(folder, 'load-part.cjs'), loader);
  writeFileSync(join(folder, 'start.cjs'), `${loader}${start}`);
  const inputs = results.flatMap(({ metafile }) => Object.keys(metafile.inputs));
  return {
    folder,
    main: 'start.cjs',
    assets: ['load-part.cjs', ...['main', ...waitedFor, ...Object.keys(sdks), ...chunks].map(assetName)],
    compiled: {
      main: 'outside',
      ...Object.fromEntries(Object.entries(sdks).filter(([, extent]) => extent !== undefined)),
      ...Object.fromEntries(waitedFor.map((command) => [command, 'whole'])),
    },
    packages: [...new Set(inputs.flatMap(packageFolder))].sort(),
  };
}

/** A word that is not a part is a mistake, or an option before the command: the whole program handles it. */
const start = `loadPart(${JSON.stringify(waitedFor)}.includes(process.argv[2]) ? process.argv[2] : 'main');\n`;

/** The program as if it had this command alone: who asks for it gets here, and no one else. */
function onlyCommand(command: string): Plugin {
  return {
    name: 'only-command',
    setup({ onLoad }) {
      const entry = `{ summary: '', load: () => import('./${command}.ts') }`;
      onLoad({ filter: /\/commands\/table\.ts$/ }, () => ({
        contents: `export const commands = { ${command}: ${entry} }; export const hiddenCommands = {};`,
        resolveDir: join(root, 'src/commands'),
      }));
      // main.ts loads these for other commands only; in this part they would only take time to load.
      for (const path of notInParts)
        onLoad({ filter: new RegExp(`/src/${path}$`) }, () => ({ contents: 'export {};' }));
    },
  };
}

/** Where the main bundle imports a chunk's package, it loads the asset instead, at the moment it is needed. */
const loadChunks: Plugin = {
  name: 'load-chunks',
  setup({ onResolve, onLoad }) {
    const filter = new RegExp(`^(?:${chunks.join('|')})$`);
    onResolve({ filter }, ({ path }) => ({ path, namespace: 'chunk' }));
    onLoad({ filter: /.*/, namespace: 'chunk' }, ({ path }) => ({ contents: loadAsset(path) }));
  },
};

/** Where src/aws imports a part of the SDK, the asset is loaded as the other parts of the program are. */
const loadSdks: Plugin = {
  name: 'load-sdks',
  setup({ onResolve, onLoad }) {
    const filter = new RegExp(`/(?:${Object.keys(sdks).join('|')})\\.ts$`);
    onResolve({ filter }, ({ path }) => ({ path: basename(path, '.ts'), namespace: 'sdk' }));
    onLoad({ filter: /.*/, namespace: 'sdk' }, ({ path }) => ({
      contents: `${readFileSync(join(root, 'build/load-part.cjs'), 'utf8')}module.exports = loadPart('${path}');`,
    }));
  },
};

/** The clients are always given credentials: what would look for some stays out of their parts. */
const withoutProviders: Plugin = {
  name: 'without-providers',
  setup({ onResolve, onLoad }) {
    const filter = /^@aws-sdk\/credential-provider-node$/;
    onResolve({ filter }, ({ path }) => ({ path, namespace: 'without' }));
    onLoad({ filter: /.*/, namespace: 'without' }, () => ({
      contents: "export const defaultProvider = () => { throw new Error('a client without credentials'); };",
    }));
  },
};

/**
 * The SDK's schemas have keys such as `[_eQN]`, where `_eQN` is a string constant of the same file. esbuild takes a computed
 * key for a side effect and keeps every schema of the service. With the string in its place it drops the ones that no
 * command uses: of EC2's, 93 %.
 */
const plainKeys: Plugin = {
  name: 'plain-keys',
  setup({ onLoad }) {
    onLoad({ filter: /[\\/]schemas[\\/]schemas_\d+\.js$/ }, ({ path }) => {
      const text = readFileSync(path, 'utf8');
      const constants = new Map(
        [...text.matchAll(/^const (\w+) = ("[^"\\]*");$/gm)].map(([, name, string]) => [name, string]),
      );
      // A plain key of this name would set the prototype.
      const isPlain = (string: string | undefined) => string !== undefined && string !== '"__proto__"';
      const contents = text.replace(/\[(\w+)\]:/g, (computed, name: string) =>
        isPlain(constants.get(name)) ? `${constants.get(name)}:` : computed,
      );
      return { contents };
    });
  },
};

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

function packageFolder(input: string): string[] {
  const [folder] = /^(?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+/.exec(input) ?? [];
  return folder === undefined ? [] : [folder];
}
