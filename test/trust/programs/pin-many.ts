/**
 * Pins first keys as the agent does, one VM after the other.
 * Arguments: directory, instance, and a JSON list of VMs with their keys as base64.
 */
import { resolvePaths } from '../../../src/platform/paths.ts';
import { parseHostKey } from '../../../src/ssh/hostkey.ts';
import { TrustStore } from '../../../src/trust/store.ts';

const [directory, instance, list = '[]'] = process.argv.slice(2);
const store = new TrustStore(resolvePaths({ configDir: directory }, {}));

for (const { vm, blob } of JSON.parse(list) as { vm: string; blob: string }[]) {
  const key = parseHostKey(Buffer.from(blob, 'base64'));
  const checked = await store.check({ vm, key, instance });
  if (checked.outcome !== 'new') throw new Error(`${vm}: ${checked.outcome}`);
  checked.provisional.pin();
  checked.provisional.release();
}
