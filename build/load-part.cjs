/**
 * What the executable runs first, and what loads the AWS SDK: takes a part of the program out of the executable.
 * With V8's compiled form of it there (code-cache.ts) nothing of that has to be compiled.
 *
 * @param {string} name as in bundle.ts
 * @returns {object} what the part exports
 */
// biome-ignore lint/correctness/noUnusedVariables: the text that follows this one calls it (bundle.ts).
function loadPart(name) {
  const { getAssetKeys, getRawAsset } = process.getBuiltinModule('node:sea');
  const { Script } = process.getBuiltinModule('node:vm');
  const cache = `${name}.cache`;
  // esbuild writes ASCII.
  const text = Buffer.from(getRawAsset(`${name}.cjs`)).latin1Slice();
  const script = new Script(text, {
    filename: `${name}.cjs`,
    cachedData: getAssetKeys().includes(cache) ? Buffer.from(getRawAsset(cache)) : undefined,
  });
  const part = { exports: {} };
  // A part needs nothing but Node's own modules.
  script.runInThisContext()(part.exports, process.getBuiltinModule, part, __filename, __dirname);
  return part.exports;
}
