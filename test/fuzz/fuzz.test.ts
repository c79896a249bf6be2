/** The short run of the fuzzer, and that it finds what it is there to find. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readCorpus } from './corpus.ts';
import { Coverage } from './coverage.ts';
import { endOf, fuzz } from './fuzzer.ts';
import { attempt, type Target } from './target.ts';
import { targets } from './targets.ts';

/** So many mutations of each target's inputs, the same in every run. */
const mutations = 400;

for (const target of targets) {
  test(`${target.name}: what was found once is parsed as promised, and so are ${mutations} mutations of it`, () => {
    const corpus = readCorpus(target.name);
    assert.ok(target.seeds().length > 0);
    const { executions, findings } = fuzz(target, {
      seed: 20_261_122,
      corpus,
      coverage: undefined,
      goesOn: (count) => count < target.seeds().length + corpus.length + mutations,
    });
    assert.ok(executions >= mutations);
    const [finding] = findings;
    if (finding !== undefined) {
      finding.error.message += `\ninput: ${finding.input.toString('base64')}`;
      throw finding.error;
    }
  });
}

/** Something that no promise is made of but that it comes to an end. */
function planted(run: Target['run']): Target {
  return { name: 'planted', modules: [], seeds: () => [Buffer.alloc(8)], dictionary: [], longest: 16, run };
}

test('a planted bug behind five bytes is found with the coverage as a guide, and not without', async () => {
  const coverage = new Coverage(new URL('planted/', import.meta.url));
  const { readField } = await import('./planted/field.ts');
  const words = [0x14, 0x7e, 0x5a].map((byte) => Buffer.from([byte]));
  const target = {
    ...planted((input) => {
      readField(input);
      return '';
    }),
    dictionary: words,
  };
  const budget = 60_000;
  const goesOn = (executions: number, findings: number) => executions < budget && findings === 0;
  try {
    const guided = fuzz(target, { seed: 3, corpus: [], coverage, goesOn });
    const [finding] = guided.findings;
    assert.ok(finding !== undefined, `nothing in ${guided.executions} executions`);
    assert.match(String(finding.error), /RangeError/);
    assert.throws(() => readField(finding.input), RangeError);
    const blind = fuzz(target, { seed: 3, corpus: [], coverage: undefined, goesOn });
    assert.equal(blind.findings.length, 0, 'the bug is no test of the guide');
    assert.ok(blind.executions >= budget);
  } finally {
    coverage.close();
  }
});

test('an input that fails is made as small as what makes it fail', () => {
  const target = planted((input) => {
    if (input.includes('bad')) throw new TypeError('a bug');
    return '';
  });
  const corpus = [Buffer.from('much that is good, bad, and much that is good')];
  const { findings } = fuzz(
    { ...target, longest: 100 },
    {
      seed: 1,
      corpus,
      coverage: undefined,
      goesOn: () => false,
    },
  );
  assert.deepEqual(
    findings.map(({ input }) => input.toString()),
    ['bad'],
  );
});

test('a parser that writes to its input, or refuses in another way than promised, has failed', () => {
  const writes = planted((input) => {
    input.fill(1);
    return '';
  });
  assert.match(String(endOf(writes, Buffer.alloc(4))), /wrote to its input/);
  const throws = planted(() => String(attempt(['not-ssh'], () => JSON.parse('{'))));
  assert.ok(endOf(throws, Buffer.alloc(4)) instanceof SyntaxError);
});
