/**
 * Finds the paths of programs and libraries that a test names and `test/programs.ts` does not declare. The tests' `PATH`
 * cannot catch them: such a test passes on every machine that happens to have the file.
 */
import { globSync, readFileSync } from 'node:fs';
import { join, matchesGlob } from 'node:path';
import { pathsByPackage } from './programs.ts';

const root = join(import.meta.dirname, '..');

/** The table itself, and the scripts of `npm run prove:…` and `npm run record`, which make a system of their own. */
const exempt = [
  'test/{programs,undeclared}.ts',
  'test/package/*.sh',
  'test/windows/**',
  'test/ssh/record.ts',
  'test/ssh/recorder/**',
];

/**
 * A path below the folders of programs and libraries, also one that is computed: `/usr/bin/${name}`. After a name, a variable
 * or a dot it is the rest of a longer path.
 */
const systemPaths = /(?<![\w.})\]*~/\\-])\/(?:usr|s?bin|lib(?:32|64|exec)?)(?![\w-])[^\s'"`;:,|&<>()\\]*/g;

/**
 * @param without declared paths to take from the table
 * @returns each undeclared path, with the file (relative to the checkout) that names it
 */
export function undeclaredPaths(
  without: readonly string[] = [],
): { readonly file: string; readonly path: string }[] {
  const declared = Object.values(pathsByPackage)
    .flat()
    .filter((path) => !without.includes(path));
  const isDeclared = (path: string) => declared.some((each) => path === each || path.startsWith(`${each}/`));
  return globSync('test/**/*.{ts,py,sh,zsh,java}', { cwd: root })
    .filter((file) => !exempt.some((pattern) => matchesGlob(file, pattern)))
    .sort()
    .flatMap((file) =>
      (readFileSync(join(root, file), 'utf8').match(systemPaths) ?? [])
        .filter((path) => !isDeclared(path))
        .map((path) => ({ file, path })),
    );
}
