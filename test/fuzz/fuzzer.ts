/**
 * A fuzzer that is guided by coverage: an input that reaches code no other has reached, or comes to an end that
 * no other came to, is kept and changed further.
 */
import type { Coverage } from './coverage.ts';
import { type Material, mutate } from './mutator.ts';
import { makeRandom } from './random.ts';
import type { Target } from './target.ts';

export interface Finding {
  readonly input: Buffer;
  readonly error: Error;
}

export interface Campaign {
  readonly executions: number;
  /** What was kept, the inputs it began with among it. */
  readonly corpus: readonly Buffer[];
  /** One for each way to fail, as small as it could be made. */
  readonly findings: readonly Finding[];
}

export interface CampaignOptions {
  readonly seed: number;
  readonly corpus: readonly Buffer[];
  /** Without it nothing guides: the inputs it began with are changed, and no others. */
  readonly coverage: Coverage | undefined;
  readonly goesOn: (executions: number, findings: number) => boolean;
  /** Called before each input is parsed, so that someone else can tell which one has no end. */
  readonly watch?: (input: Buffer) => void;
}

/** More than this of the processor for one input is a failure, in milliseconds: they are short. */
const slow = 2000;
/** Coverage is looked at after so many inputs; only where it grew, after each of them. */
const batch = 200;
const mostFindings = 20;
/** So many of the newest inputs are changed as often as all of them together. */
const recent = 4;

export function fuzz(target: Target, options: CampaignOptions): Campaign {
  const { coverage, goesOn, watch } = options;
  const random = makeRandom(options.seed);
  const corpus = [...target.seeds(), ...options.corpus];
  const heard = new Set<string>();
  const findings = new Map<string, Finding>();
  const material: Material = {
    dictionary: target.dictionary.map((word) => Buffer.from(word as string)),
    others: corpus,
    longest: target.longest,
  };
  let executions = 0;

  /** Whether it ended in words that were not heard before. */
  const execute = (input: Buffer): boolean => {
    executions += 1;
    watch?.(input);
    const ended = endOf(target, input);
    if (ended instanceof Error) {
      const kind = kindOf(ended);
      if (!findings.has(kind) && findings.size < mostFindings) {
        const small = shrink(target, input, kind);
        findings.set(kind, { input: small, error: ended });
      }
      return false;
    }
    const isNew = !heard.has(ended);
    heard.add(ended);
    return isNew;
  };
  for (const input of corpus) execute(input);
  if (coverage !== undefined) coverage.remember(coverage.take());

  while (goesOn(executions, findings.size)) {
    const inputs: Buffer[] = [];
    const kept = new Set<Buffer>();
    for (let left = batch; left > 0; left -= 1) {
      // What was kept last has led furthest.
      const from = random.below(2) === 0 ? corpus : corpus.slice(-recent);
      const input = mutate(from.length > 0 ? random.pick(from) : Buffer.alloc(0), random, material);
      inputs.push(input);
      if (execute(input)) kept.add(input);
    }
    if (coverage === undefined) continue;
    if (coverage.isNews(coverage.take())) {
      for (const input of inputs) {
        execute(input);
        if (coverage.remember(coverage.take()) > 0) kept.add(input);
      }
    }
    corpus.push(...kept);
  }
  return { executions, corpus, findings: [...findings.values()] };
}

/** The words it ended in, or how it failed. */
export function endOf(target: Target, input: Buffer): string | Error {
  const before = process.cpuUsage();
  let words: string;
  try {
    // Parsers may keep views of what they are given, and may not write to it.
    const given = Buffer.from(input);
    words = target.run(given);
    if (!given.equals(input)) return new Error('the parser wrote to its input');
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000 > slow ? new Error(`slow: it takes more than ${slow} ms`) : words;
}

/** Two failures are the same where they were thrown with the same words from the same place. */
function kindOf(error: Error): string {
  const place = error.stack?.split('\n').find((line) => /^ +at .*\/(?:src|test\/fuzz\/targets)\//.test(line));
  return `${error.name} ${error.message.split('\n', 1)[0]?.replace(/\d+/g, '0').slice(0, 60)} ${place ?? ''}`;
}

/** Takes out whatever it does not need in order to fail in the same way. */
function shrink(target: Target, input: Buffer, kind: string): Buffer {
  const deadline = performance.now() + 10_000;
  let small = input;
  for (let length = small.length >> 1; length > 0; length >>= 1) {
    for (let at = 0; at < small.length && performance.now() < deadline; ) {
      const without = Buffer.concat([small.subarray(0, at), small.subarray(at + length)]);
      const ended = endOf(target, without);
      if (ended instanceof Error && kindOf(ended) === kind) small = without;
      else at += length;
    }
  }
  return small;
}

/** The fewest inputs that come, beside the target's own, to the same code; the short ones first. */
export function minimise(target: Target, inputs: readonly Buffer[], coverage: Coverage): Buffer[] {
  const isNews = (input: Buffer): boolean => {
    const ended = endOf(target, input);
    return coverage.remember(coverage.take()) > 0 && !(ended instanceof Error);
  };
  coverage.forget();
  for (const seed of target.seeds()) isNews(seed);
  return [...inputs].sort((one, other) => one.length - other.length).filter(isNews);
}
