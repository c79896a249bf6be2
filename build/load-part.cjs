/**
 * What the executable runs first, and what starts its threads: takes a part of the program out of the executable.
 * With V8's compiled form of it there (code-cache.ts) nothing of that has to be compiled.
 *
 * @param {string} name as in bundle.ts
 */
// biome-ignore lint/correctness/noUnusedVariables: what stands behind this text calls it (bundle.ts, thread.ts).
function loadPart(name) {
  const { getAssetKeys, getRawAsset } = require('node:sea');
  const { Script } = require('node:vm');
  const cache = `${name}.cache`;
  // esbuild writes ASCII.
  const text = Buffer.from(getRawAsset(`${name}.cjs`)).latin1Slice();
  const script = new Script(text, {
    filename: `${name}.cjs`,
    cachedData: getAssetKeys().includes(cache) ? Buffer.from(getRawAsset(cache)) : undefined,
  });
  const part = { exports: {} };
  script.runInThisContext()(part.exports, require, part, __filename, __dirname);
}
