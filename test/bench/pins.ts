/**
 * What lookup and write cost with 10,000 pins, against 10: `node test/bench/pins.ts`. Prints the medians in
 * milliseconds and their difference; nothing here decides whether a test passes.
 */
import { generateKeyPairSync } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { resolvePaths } from '../../src/platform/paths.ts';
import { parseHostKey } from '../../src/ssh/hostkey.ts';
import { publicKeyBlob } from '../../src/ssh/key-encoding.ts';
import { TrustStore } from '../../src/trust/store.ts';

const rounds = 40;
const key = parseHostKey(publicKeyBlob(generateKeyPairSync('ed25519').publicKey));

async function measure(pins: number): Promise<{ lookup: number; write: number }> {
  const dir = mkdtempSync(join(tmpdir(), 'mint-bench-'));
  try {
    const paths = resolvePaths({ configDir: join(dir, 'mint') }, {});
    mkdirSync(paths.dir, { mode: 0o700 });
    const lines = Array.from({ length: pins }, (_, index) => `vm-${index}=${key.fingerprint}\n`);
    writeFileSync(paths.knownHosts, lines.join(''), { mode: 0o600 });
    // Old enough that no one seems to be writing it.
    utimesSync(paths.knownHosts, 0, 0);
    const store = new TrustStore(paths);
    const vm = `vm-${pins - 1}`;
    await store.check({ vm, key });
    const [lookups, writes] = [[] as number[], [] as number[]];
    for (let round = 0; round < rounds; round += 1) {
      lookups.push(await time(() => store.check({ vm, key })));
      const checked = await store.check({ vm: `new-${round}`, key });
      if (checked.outcome !== 'new') throw new Error(checked.outcome);
      writes.push(await time(() => checked.provisional.pin()));
    }
    return { lookup: median(lookups), write: median(writes) };
  } finally {
    rmSync(dir, { recursive: true });
  }
}

async function time(action: () => unknown): Promise<number> {
  const start = performance.now();
  await action();
  return performance.now() - start;
}

function median(values: number[]): number {
  return values.toSorted((one, other) => one - other)[values.length >> 1] ?? Number.NaN;
}

await measure(10);
const [few, many] = [await measure(10), await measure(10_000)];
for (const what of ['lookup', 'write'] as const) {
  const [small, large] = [few[what], many[what]];
  process.stdout.write(
    `${what}: ${small.toFixed(2)} ms with 10 pins, ${large.toFixed(2)} ms with 10,000: ${(large - small).toFixed(2)} ms more, ${(large / small).toFixed(1)} times\n`,
  );
}
