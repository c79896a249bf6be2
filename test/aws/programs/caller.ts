/** Makes the calls on its input, one per line, and prints the result of each. */
import { createInterface } from 'node:readline';
import { ownAws } from '../../../src/aws/own-credentials.ts';
import { MintError } from '../../../src/errors.ts';
import { instanceId, request } from '../setup.ts';

const aws = ownAws();
const caller = { environment: process.env as Record<string, string> };
const vpc = process.argv[2] ?? '';

const calls: Readonly<Record<string, () => Promise<unknown>>> = {
  push: () => aws.push(caller, request),
  describe: () => aws.describeVms(caller, { ids: [instanceId] }),
  tunnel: () => aws.tunnel(caller, { vpc, ipv4: '10.0.0.7', port: 22 }),
};

for await (const line of createInterface({ input: process.stdin })) {
  try {
    console.log(JSON.stringify({ reply: await calls[line]?.() }));
  } catch (error) {
    console.log(JSON.stringify({ failure: error instanceof MintError ? error.message : String(error) }));
  }
}
await aws.close();
