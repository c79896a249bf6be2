/** Every parser of untrusted bytes keeps its promises, for the recorded inputs and for changed ones. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fc } from '../property.ts';
import { readCorpus } from './corpus.ts';
import { mutations } from './mutations.ts';
import { attempt, run, type Target } from './target.ts';
import { targets } from './targets.ts';

/** The inputs are the same in every run. */
const seed = 20_261_122;
const runsOfEach = 400;

for (const target of targets) {
  const inputs = [...target.seeds(), ...readCorpus(target.name)];

  test(`${target.name}: every recorded input is parsed as promised`, () => {
    const outcomes = inputs.map((input) => run(target, input));
    assert.ok(new Set(outcomes).size > 1, `every input has the same outcome: ${outcomes[0]}`);
  });

  test(`${target.name}: ${runsOfEach} changed inputs are parsed as promised`, () => {
    const { dictionary, longest: maxBytes } = target;
    fc.assert(
      fc.property(mutations({ inputs, dictionary, maxBytes }), (input) => {
        run(target, input);
      }),
      { seed, numRuns: runsOfEach },
    );
  });
}

/** A target whose only rule is what `parse` throws. */
function targetOf(parse: Target['run']): Target {
  return { name: 'test', seeds: () => [], dictionary: [], longest: 16, run: parse };
}

test('a parser that changes its input, or throws an error it did not announce, fails', () => {
  const writes = targetOf((input) => {
    input.fill(1);
    return '';
  });
  assert.throws(() => run(writes, Buffer.alloc(4)), /changed its input/);
  const throws = targetOf(() => String(attempt(['not-ssh'], () => JSON.parse('{'))));
  assert.throws(() => run(throws, Buffer.alloc(4)), SyntaxError);
});

test('changed inputs find a parser that trusts a length field', () => {
  const trusting = targetOf((input) => {
    if (input.length < 5 || input[0] !== 0x14) return 'not a message';
    return String(input.readUInt8(4 + input.readUInt32BE(1)));
  });
  const message = Buffer.from([0x14, 0, 0, 0, 1, 0x5a]);
  const inputs = mutations({ inputs: [message], dictionary: [], maxBytes: 16 });
  const property = fc.property(inputs, (input) => {
    run(trusting, input);
  });
  const { failed, counterexample } = fc.check(property, { seed, numRuns: runsOfEach });
  assert.ok(failed);
  assert.throws(() => run(trusting, counterexample?.[0] ?? Buffer.alloc(0)), RangeError);
});
