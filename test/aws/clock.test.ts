/** Calls with a wrong clock, and one that is set while they run: libfaketime changes it for the caller only. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type TestContext, test } from 'node:test';
import { demoVpc } from '../../src/demo/instance.ts';
import { demoRegion } from '../cloud/cloud.ts';
import { presignedFault } from '../cloud/presigned.ts';
import { MovableClock } from '../openssh/faketime.ts';
import { setUp } from './setup.ts';

interface Outcome {
  readonly reply?: { readonly url?: string };
  readonly failure?: string;
}

const hour = 3600;
const dnsName = 'eice-1.example.ec2-instance-connect-endpoint.amazonaws.com';

/** A caller with its own clock; `call` returns the result of one call. */
async function startCaller(t: TestContext) {
  const { cloud, environment, home } = await setUp(t);
  const place = { region: demoRegion, vpc: demoVpc, subnet: 'subnet-0a', zone: `${demoRegion}a` };
  cloud.endpoints.set('eice-1', { id: 'eice-1', dnsName, state: 'create-complete', ...place });
  const clock = new MovableClock(join(home(), 'clock'));
  const child = spawn(process.execPath, [join(import.meta.dirname, 'programs/caller.ts'), demoVpc], {
    env: { ...environment(), ...clock.wallClockOnly },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  t.after(() => child.kill());
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const call = async (name: string): Promise<Outcome> => {
    child.stdin.write(`${name}\n`);
    const { value } = await lines.next();
    return JSON.parse(String(value)) as Outcome;
  };
  const tunnelFault = ({ reply }: Outcome): string | undefined => {
    const url = new URL(reply?.url ?? 'wss://none');
    const service = 'ec2-instance-connect';
    return presignedFault({ method: 'GET', url, host: url.host }, cloud.accessKeys, { service, longest: 60 });
  };
  return { cloud, setClock: (seconds: number) => clock.set(seconds), call, tunnelFault };
}

for (const name of ['push', 'describe'])
  test(`AWS accepts a ${name} with a wrong clock, and one right after the clock was corrected`, async (t) => {
    const { cloud, setClock, call } = await startCaller(t);
    for (const seconds of [-hour, 0, hour, 0, -24 * hour, 24 * hour, 0]) {
      setClock(seconds);
      assert.deepEqual((await call(name)).failure, undefined, `${seconds} s`);
    }
    const refused = cloud.requests.filter(({ failure }) => failure !== undefined).length;
    assert.equal(refused, 7, 'each jump is one refusal, and one request more');
  });

test('the URL of a tunnel is valid by AWS’s clock, with any clock of this machine', async (t) => {
  const { setClock, call, tunnelFault } = await startCaller(t);
  for (const seconds of [0, -hour, hour, 0]) {
    setClock(seconds);
    assert.equal(tunnelFault(await call('tunnel')), undefined, `${seconds} s`);
  }
});
