/**
 * Finds the paths of programs and libraries that a test names and `test/programs.ts` does not declare. The tests' `PATH`
 * cannot catch them: such a test passes on every machine that happens to have the file.
 */
import { globSync, readFileSync } from 'node:fs';
import { join, matchesGlob } from 'node:path';
import { pathsByPackage } from './programs.ts';

const root = join(import.meta.dirname, '..');

/** The table itself, this check and its test, and the scripts of `npm run prove:…` and `npm run record`, which make a system of their own. */
const exempt = [
  'test/programs.ts',
  'test/{undeclared,run.test}.ts',
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

/** @returns the system paths that a text names and that are neither declared nor below a declared folder, in order */
export function undeclaredIn(text: string, declared: readonly string[]): string[] {
  const isDeclared = (path: string) => declared.some((each) => path === each || path.startsWith(`${each}/`));
  return (text.match(systemPaths) ?? []).filter((path) => !isDeclared(path));
}

const pythonImport = /^\s*(?:import\s+(\w[\w.]*(?:\s*,\s*\w[\w.]*)*)|from\s+(\w[\w.]*)\s+import\s)/gm;

/** @returns the packages and modules that a Python program imports, in order */
export function pythonImports(text: string): string[] {
  return [...text.matchAll(pythonImport)].flatMap(([, several = '', one = '']) =>
    `${several},${one}`.split(',').flatMap((name) => name.trim().split('.')[0] || []),
  );
}

/**
 * Looks through the Python programs of all tests.
 * @param ownModules the modules that come with Python
 * @returns each import that is neither Python's own nor declared as a folder or file of Debian's packages
 */
export function undeclaredModules(
  ownModules: ReadonlySet<string>,
): { readonly file: string; readonly module: string }[] {
  const folder = '/usr/lib/python3/dist-packages';
  const declared = new Set(Object.values(pathsByPackage).flat());
  const isDeclared = (name: string) =>
    ownModules.has(name) || declared.has(`${folder}/${name}`) || declared.has(`${folder}/${name}.py`);
  return globSync('test/**/*.py', { cwd: root })
    .sort()
    .flatMap((file) =>
      pythonImports(readFileSync(join(root, file), 'utf8'))
        .filter((module) => !isDeclared(module))
        .map((module) => ({ file, module })),
    );
}

/**
 * Looks through the sources of all tests.
 * @param without declared paths to take from the table
 * @returns each undeclared path, with the file (relative to the checkout) that names it
 */
export function undeclaredPaths(
  without: readonly string[] = [],
): { readonly file: string; readonly path: string }[] {
  const declared = Object.values(pathsByPackage)
    .flat()
    .filter((path) => !without.includes(path));
  return globSync('test/**/*.{ts,py,sh,zsh,java}', { cwd: root })
    .filter((file) => !exempt.some((pattern) => matchesGlob(file, pattern)))
    .sort()
    .flatMap((file) =>
      undeclaredIn(readFileSync(join(root, file), 'utf8'), declared).map((path) => ({ file, path })),
    );
}
