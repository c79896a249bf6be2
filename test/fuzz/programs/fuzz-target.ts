/**
 * Fuzzes one target for some seconds and prints what came of it as JSON. Its corpus, as small as it can be, takes
 * the place of the one that was there; an input that fails goes to dist/fuzz.
 *
 *     fuzz-target.ts TARGET SECONDS SEED
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Coverage } from '../coverage.ts';

const [name = '', seconds = '10', seed = '1'] = process.argv.slice(2);
const failures = join(import.meta.dirname, '../../../dist/fuzz');
mkdirSync(failures, { recursive: true });

// Before anything of src is loaded.
const coverage = new Coverage();
const { targets } = await import('../targets.ts');
const { readCorpus, writeCorpus, nameOf } = await import('../corpus.ts');
const { fuzz, minimise } = await import('../fuzzer.ts');
const { startWatch } = await import('../watch.ts');

const target = targets.find((each) => each.name === name);
if (target === undefined) throw new Error(`there is no target ${name}`);
const watch = startWatch(join(failures, `${name}-endless`), target.longest);
const deadline = performance.now() + Number(seconds) * 1000;
const { executions, corpus, findings } = fuzz(target, {
  seed: Number(seed),
  corpus: readCorpus(name),
  coverage,
  goesOn: () => performance.now() < deadline,
  watch: watch.begin,
});
await watch.end();
const kept = minimise(target, corpus, coverage);
writeCorpus(name, kept);
coverage.close();
for (const { input } of findings) writeFileSync(join(failures, `${name}-${nameOf(input)}`), input);
const told = findings.map(({ input, error }) => ({
  file: join('dist/fuzz', `${name}-${nameOf(input)}`),
  bytes: input.length,
  error: error.stack ?? error.message,
}));
process.stdout.write(`${JSON.stringify({ executions, kept: kept.length, findings: told })}\n`);
