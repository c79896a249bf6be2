/** Makes a release's files as `npm run package` does, for the tests that use them. */
import assert from 'node:assert/strict';
import { cpSync, mkdirSync, readdirSync, readFileSync, realpathSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { startChild } from '../openssh/child.ts';

export const root = join(import.meta.dirname, '../..');

/** The date that every file of these releases has, in seconds since 1970. */
export const releaseEpoch = 1_750_000_000;

const sources = ['build', 'src', 'package.json', 'package-lock.json', 'install.sh', 'LICENSE', 'README.md'];

/** A copy of what a release is made of, in a folder of its own. */
export function copySources(folder: string): string {
  mkdirSync(folder, { recursive: true });
  for (const part of sources) cpSync(join(root, part), join(folder, part), { recursive: true });
  symlinkSync(realpathSync(join(root, 'node_modules')), join(folder, 'node_modules'));
  // Fetched Node builds are held against their sums at each use; once on this machine is enough.
  mkdirSync(join(root, 'dist/nodes'), { recursive: true });
  mkdirSync(join(folder, 'dist'));
  symlinkSync(join(root, 'dist/nodes'), join(folder, 'dist/nodes'));
  return folder;
}

/** Runs `build/package.ts` of a checkout. @returns what it printed */
export async function makeRelease(
  checkout: string,
  words: readonly string[],
  timeZone: string,
): Promise<string> {
  const program = [join(checkout, 'build/package.ts'), ...words];
  const environment = { ...process.env, SOURCE_DATE_EPOCH: String(releaseEpoch), TZ: timeZone };
  const { status, stdout, stderr } = await startChild(process.execPath, program, environment, {
    cwd: checkout,
    timeout: 540_000,
  }).done;
  assert.equal(status, 0, stderr.slice(-4000));
  return stdout;
}

/** What a release's SHA256SUMS says, by file name. */
export function sumsOf(release: string): Record<string, string> {
  const lines = readFileSync(join(release, 'SHA256SUMS'), 'utf8').trimEnd().split('\n');
  return Object.fromEntries(
    lines.map((line) => {
      const [, sum = '', name = ''] = /^([0-9a-f]{64}) {2}(\S+)$/.exec(line) ?? assert.fail(line);
      return [name, sum];
    }),
  );
}

/** Every file below a folder, by its path in it, sorted. */
export function filesIn(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
    .sort();
}
