/** A reporter for `node --test`: the path of each test file in which something failed, a line each. */
import type { TestEvent } from 'node:test/reporters';

// biome-ignore lint/style/noDefaultExport: node:test takes a reporter as the default export
export default async function* failedFiles(source: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  for await (const event of source) {
    if (event.type === 'test:fail' && event.data.file !== undefined) yield `${event.data.file}\n`;
  }
}
