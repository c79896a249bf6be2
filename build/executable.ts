/**
 * Makes single executables of a bundle: the blob by Node itself, put into a Node binary by postject.
 * See https://nodejs.org/api/single-executable-applications.html.
 */
import { execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { inject } from 'postject';
import { withoutSignature } from './authenticode.ts';
import type { Bundle } from './bundle.ts';

export interface BlobOptions {
  /** The Node that makes the blob: of the very version that will run it, and able to run here. */
  readonly node: string;
  /** V8's compiled form of what people wait for: saves milliseconds at each start, on this platform only. */
  readonly codeCache: boolean;
}

/** The blob's path, in the bundle's folder. */
export function makeBlob(bundle: Bundle, { node, codeCache }: BlobOptions): string {
  const caches = codeCache ? Object.keys(bundle.compiled).map((name) => `${name}.cache`) : [];
  if (codeCache) {
    const parts = Object.entries(bundle.compiled).map(([name, extent]) => `${name}=${extent}`);
    const program = join(import.meta.dirname, 'code-cache.ts');
    execFileSync(node, ['--random-seed=42', program, bundle.folder, ...parts], { stdio: 'pipe' });
  }
  const config = {
    // Relative: the blob has this path inside, and must not tell where it was made.
    main: bundle.main,
    output: 'mint-ssh.blob',
    disableExperimentalSEAWarning: true,
    // A small young generation, and one thread for V8's background work where it would start four: 4 MB less.
    // node:sqlite calls itself experimental in Node 22.
    // SIGUSR1 would open a debugger port that every local user can reach.
    execArgv: [
      '--max-semi-space-size=1',
      '--v8-pool-size=1',
      '--disable-warning=ExperimentalWarning',
      '--disable-sigusr1',
    ],
    // A NODE_OPTIONS meant for someone else's programs (an editor's debugger) has no business in here.
    execArgvExtension: 'none',
    assets: Object.fromEntries([...bundle.assets, ...caches].map((name) => [name, name])),
  };
  writeFileSync(join(bundle.folder, 'sea.json'), JSON.stringify(config));
  // What it says is shown where it fails.
  execFileSync(node, ['--experimental-sea-config', 'sea.json'], { cwd: bundle.folder, stdio: 'pipe' });
  return join(bundle.folder, config.output);
}

export interface ExecutableOptions {
  /** The Node binary that the program becomes. */
  readonly node: string;
  readonly blob: string;
  /** The program that takes symbols out of it, run on the copy; undefined to leave them in. */
  readonly strip: string | undefined;
  /** Windows: it bears its maker's signature, which what is put into it makes a false one; it is taken out. */
  readonly isSigned?: boolean;
}

/**
 * Writes an executable. It is made beside and renamed: a running mint-ssh keeps the file it was started from.
 * @throws where `strip` fails
 */
export async function makeExecutable(
  output: string,
  { node, blob, strip, isSigned = false }: ExecutableOptions,
): Promise<void> {
  const unfinished = join(dirname(output), `.${basename(output)}.${process.pid}`);
  try {
    if (isSigned) writeFileSync(unfinished, withoutSignature(readFileSync(node)));
    else copyFileSync(node, unfinished);
    chmodSync(unfinished, 0o755);
    // Symbols are a fifth of the file. After the injection it is too late: strip would break the executable.
    if (strip !== undefined) execFileSync(strip, [unfinished], { stdio: 'inherit' });
    await inject(unfinished, 'NODE_SEA_BLOB', readFileSync(blob), {
      sentinelFuse: 'NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2',
      // Where Node looks for it in a Mach-O file; the other formats take no notice.
      machoSegmentName: 'NODE_SEA',
    });
    renameSync(unfinished, output);
  } finally {
    rmSync(unfinished, { force: true });
  }
}
