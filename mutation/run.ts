/**
 * `npm run mutate [-- PART…]`: mutation testing by Stryker of one part of the source after the other, and a table of the
 * scores. The whole takes hours; a part can be run alone.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

interface Part {
  readonly mutate: readonly string[];
  /** Fast tests: each file runs once for each mutant of a line that it executes. */
  readonly tests: readonly string[];
}

const parts: Readonly<Record<string, Part>> = {
  wire: {
    mutate: ['src/ssh/{wire,refusal,session-bind,packet,kexinit,userauth,identification}.ts'],
    tests: ['test/ssh/{wire,session-bind,packet,kexinit,userauth,identification}.test.ts'],
  },
  exchange: {
    mutate: ['src/ssh/{expectation,observer}.ts'],
    tests: ['test/ssh/{expectation,unpredicted,observer}.test.ts'],
  },
  keys: {
    mutate: [
      'src/ssh/{hostkey,host-key-algorithm,key-encoding,key-signature,mldsa44-ed25519,agent-messages}.ts',
    ],
    tests: [
      'test/ssh/{hostkey,key-encoding,key-signature,mldsa44-ed25519,agent-messages,expectation}.test.ts',
    ],
  },
  decision: { mutate: ['src/trust/decide.ts', 'src/trust/pin.ts'], tests: ['test/trust/decide.test.ts'] },
  pins: { mutate: ['src/trust/known-hosts.ts'], tests: ['test/trust/known-hosts.test.ts'] },
  quoting: {
    mutate: ['src/ssh-config/quote.ts', 'src/cli/shell-command.ts'],
    tests: ['test/ssh-config/quote.test.ts', 'test/cli/shell-word.test.ts'],
  },
  leases: { mutate: ['src/ci/leases.ts'], tests: ['test/ci/lease-record.test.ts'] },
  settings: {
    mutate: ['src/settings/{settings,settings-file,settings-keys}.ts'],
    tests: ['test/settings/{settings,values,open-jobs}.test.ts'],
  },
  toml: { mutate: ['src/settings/toml.ts'], tests: ['test/settings/toml.test.ts'] },
  names: {
    mutate: ['src/settings/{vm-name,region}.ts'],
    tests: ['test/settings/{vm-name,values}.test.ts', 'test/ci/lease-record.test.ts'],
  },
};

const root = join(import.meta.dirname, '..');
const folder = join(root, 'dist/mutation');
const stryker = join(import.meta.dirname, 'node_modules/.bin/stryker');

interface Report {
  readonly files: Readonly<Record<string, { readonly mutants: readonly { readonly status: string }[] }>>;
}

/** Mutates one part. @returns Stryker's report */
function mutate(name: string, { mutate: sources, tests }: Part): Report {
  const report = join(folder, `${name}.json`);
  const settings = {
    testRunner: 'tap',
    tap: { testFiles: tests, nodeArgs: ['--test-reporter=tap', '-r', '{{hookFile}}', '{{testFile}}'] },
    mutate: sources,
    coverageAnalysis: 'perTest',
    plugins: ['@stryker-mutator/tap-runner', join(import.meta.dirname, 'messages.mjs')],
    ignorers: ['messages'],
    tsconfigFile: 'none',
    concurrency: 1,
    timeoutMS: 20_000,
    ignorePatterns: ['dist', 'mutation', 'test/fuzz/corpus'],
    tempDirName: join(folder, `sandbox-${name}`),
    reporters: ['clear-text', 'progress-append-only', 'json'],
    jsonReporter: { fileName: report },
    clearTextReporter: { allowColor: false, logTests: false },
  };
  const configuration = join(folder, `${name}.config.json`);
  writeFileSync(configuration, JSON.stringify(settings));
  const { status } = spawnSync('nice', ['-n', '19', stryker, 'run', configuration], {
    cwd: root,
    stdio: 'inherit',
  });
  if (status !== 0) throw new Error(`stryker failed for ${name}`);
  return JSON.parse(readFileSync(report, 'utf8')) as Report;
}

function row(name: string, statuses: readonly string[]): string {
  const count = (...wanted: string[]) => statuses.filter((status) => wanted.includes(status)).length;
  const found = count('Killed', 'Timeout');
  const missed = count('Survived', 'NoCoverage');
  const score = ((found / (found + missed || 1)) * 100).toFixed(1);
  return `| \`${name}\` | ${found + missed} | ${found} | ${missed} | ${score} % |`;
}

const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => parts[name] === undefined);
if (unknown.length > 0)
  throw new Error(`no such part: ${unknown.join(' ')}; there are: ${Object.keys(parts).join(' ')}`);
mkdirSync(folder, { recursive: true });
const rows: string[] = [];
for (const [name, part] of Object.entries(parts)) {
  if (wanted.length > 0 && !wanted.includes(name)) continue;
  const { files } = mutate(name, part);
  const statuses = ({ mutants }: Report['files'][string]) => mutants.map(({ status }) => status);
  for (const [file, each] of Object.entries(files)) rows.push(row(file, statuses(each)));
  rows.push(row(`all of ${name}`, Object.values(files).flatMap(statuses)));
}
process.stdout.write(
  `\n| module | mutants | killed or timed out | survived | score |\n| --- | --: | --: | --: | --: |\n`,
);
process.stdout.write(`${rows.join('\n')}\n`);
