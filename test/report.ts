/** A reporter for `node --test` that `test/run.ts` reads: a line of JSON for each failure and for each file. */
import type { TestEvent } from 'node:test/reporters';
import { inspect } from 'node:util';

export type ReportLine =
  | { readonly kind: 'failure'; readonly file: string; readonly name: string; readonly error: string }
  | {
      readonly kind: 'file';
      readonly file: string;
      readonly tests: number;
      readonly passed: number;
      readonly failed: number;
      readonly skipped: number;
      readonly milliseconds: number;
    };

// biome-ignore lint/style/noDefaultExport: node:test takes a reporter as the default export
export default async function* report(source: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  for await (const event of source) {
    const line = lineOf(event);
    if (line !== undefined) yield `${JSON.stringify(line)}\n`;
  }
}

function lineOf(event: TestEvent): ReportLine | undefined {
  // A todo test may fail: it names a known defect.
  if (event.type === 'test:fail' && event.data.file !== undefined && !event.data.todo) {
    const { file, name, details } = event.data;
    return { kind: 'failure', file, name, error: inspect(details.error.cause ?? details.error) };
  }
  if (event.type === 'test:summary' && event.data.file !== undefined) {
    const { file, counts, duration_ms: milliseconds } = event.data;
    const { tests, passed, skipped, cancelled } = counts;
    const failed = tests - passed - skipped - counts.todo;
    return { kind: 'file', file, tests, passed, failed: Math.max(failed, cancelled), skipped, milliseconds };
  }
  return undefined;
}
