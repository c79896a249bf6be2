/**
 * Writes V8's compiled form of scripts, `NAME.cache` beside each `NAME.cjs`:
 *
 *     node --random-seed=42 build/code-cache.ts FOLDER NAME=whole|outside…
 *
 * It holds for the Node that runs this, on its machine type. The seed makes it the same each time: strings' hashes
 * are in it. V8 does not count that option when it compares the cache's options with its own; with --hash-seed or
 * --single-threaded it rejects the cache.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { Script } from 'node:vm';

const [folder = '.', ...parts] = process.argv.slice(2);
for (const part of parts) {
  const [name, extent] = part.split('=');
  const text = readFileSync(join(folder, `${name}.cjs`), 'latin1');
  // Left alone, V8 compiles a function when it is first called: then the cache has none of them.
  if (extent === 'whole') setFlagsFromString('--no-lazy');
  const script = new Script(text, { filename: `${name}.cjs` });
  setFlagsFromString('--lazy');
  const cachedData = script.createCachedData();
  if (new Script(text, { filename: `${name}.cjs`, cachedData }).cachedDataRejected !== false)
    throw new Error(`V8 does not take its own compiled form of ${name}.cjs`);
  writeFileSync(join(folder, `${name}.cache`), cachedData);
}
