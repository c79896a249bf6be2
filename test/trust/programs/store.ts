/**
 * One operation on the store of a directory, as its own process; prints the outcome as JSON.
 * Arguments: directory, operation (check | pin | accept | forget), VM, key as base64, instance or nothing.
 */

import { MintError } from '../../../src/errors.ts';
import { resolvePaths } from '../../../src/platform/paths.ts';
import { parseHostKey } from '../../../src/ssh/hostkey.ts';
import { TrustStore } from '../../../src/trust/store.ts';

const [directory, operation, vm = '', blob = '', instance] = process.argv.slice(2);
const store = new TrustStore(resolvePaths({ configDir: directory }, {}));

async function run(): Promise<string> {
  const key = parseHostKey(Buffer.from(blob, 'base64'));
  if (operation === 'accept') return store.accept(vm, key.fingerprint).fingerprint;
  if (operation === 'forget') return String(store.forget(vm));
  const checked = await store.check({ vm, key, instance });
  if (operation === 'pin' && checked.outcome === 'new') checked.provisional.pin();
  return checked.outcome;
}

run().then(
  (outcome) => process.stdout.write(JSON.stringify({ outcome })),
  (error) => {
    if (!(error instanceof MintError)) throw error;
    process.stdout.write(JSON.stringify({ code: error.code, hint: error.hint }));
  },
);
