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
  const judgement = await store.judge({ vm, key, instance });
  if (judgement.kind !== 'unknown') throw new Error(`${vm}: ${judgement.kind}`);
  judgement.provisional.pin('stream-binding');
  judgement.provisional.release();
}
