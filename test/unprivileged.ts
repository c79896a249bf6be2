/** Runs a piece of a module as another user, where the tests run as root. */
import { chmodSync, cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';

export const nobody = 65_534;

const root = join(import.meta.dirname, '..');

/**
 * The words that start Node as `nobody` on a module of the test.
 *
 * A checkout may stand where that user cannot go (a home directory of root's): so Node starts as root, drops
 * its rights, and loads everything from a copy that anyone may read.
 * @param script given the path of that copy, the text of the module; it finds `args` behind `process.argv[1]`
 */
export function asNobody(
  context: TestContext,
  script: (copy: string) => string,
  args: readonly string[] = [],
): string[] {
  const copy = mkdtempSync(join(tmpdir(), 'mint-copy-'));
  context.after(() => rmSync(copy, { recursive: true, force: true }));
  for (const part of ['package.json', 'src', 'test/trust'])
    cpSync(join(root, part), join(copy, part), { recursive: true });
  chmodSync(copy, 0o755);
  const main = join(copy, 'main.ts');
  writeFileSync(main, script(copy), { mode: 0o644 });
  const start = `
    process.setgroups([]); process.setgid(${nobody}); process.setuid(${nobody});
    process.argv.splice(1, 0, ${JSON.stringify(main)});
    await import(${JSON.stringify(main)});
  `;
  return [process.execPath, '--input-type=module', '-e', start, '--', ...args];
}
