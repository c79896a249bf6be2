/** Runs a target's own inputs and its corpus once, and prints how much of its modules ran, as JSON. */
import { Coverage } from '../coverage.ts';

const [name = ''] = process.argv.slice(2);
// Before anything of src is loaded.
const coverage = new Coverage();
const { targets } = await import('../targets.ts');
const { readCorpus } = await import('../corpus.ts');
const { endOf } = await import('../fuzzer.ts');

const target = targets.find((each) => each.name === name);
if (target === undefined) throw new Error(`there is no target ${name}`);
for (const input of [...target.seeds(), ...readCorpus(name)]) {
  const ended = endOf(target, input);
  if (ended instanceof Error) throw ended;
}
const counted = coverage.count();
coverage.close();
const modules = target.modules.map((module) => ({ module, ...counted.get(module) }));
process.stdout.write(`${JSON.stringify(modules)}\n`);
