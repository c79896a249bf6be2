/**
 * What else runs in a real account: instances that are not the caller's, not Mint's, not running, not in this region,
 * or not Linux. More than fit on one page of DescribeInstances.
 */
import { randomBytes } from 'node:crypto';
import type { Instance } from '../../src/demo/instance.ts';
import { type Cloud, demoRegion } from './cloud.ts';

/** The owner tag of the access key that every test world has, by Mint's rule. */
export const ownOwner = 'akiademodemodemodemo';

/** Adds them. Their addresses are TEST-NET-3's (RFC 5737): nothing answers there. */
export function addOtherInstances(cloud: Pick<Cloud, 'instances'>): void {
  const mint = (name: string, owner: string) => ({ mint: 'true', 'mint:vm': name, 'mint:owner': owner });
  const others: readonly Partial<Instance>[] = [
    { tags: { Name: 'web-1', Environment: 'production' } },
    { tags: {} },
    // Another user's VM has the name that most tests give their own.
    { tags: mint('dev', 'someone-else') },
    { tags: mint('build-box', 'someone-else'), state: 'stopped' },
    // AWS lists a terminated instance, with its tags, for about an hour.
    { tags: mint('dev', ownOwner), state: 'terminated', launchTime: Date.now() - 3_600_000 },
    { tags: mint('dev', ownOwner), region: 'eu-west-1' },
    // A tag value is any text that another user of the account chose.
    { tags: { Name: 'x\u001b]0;title\u0007 $(touch pwned) `id`\n%h --option' } },
    { tags: { Name: 'AD controller' }, keyName: 'windows-admin' },
  ];
  for (const [at, other] of others.entries()) {
    const id = `i-${randomBytes(9).toString('hex').slice(1)}`;
    cloud.instances.set(id, {
      region: demoRegion,
      state: 'running',
      publicIp: `203.0.113.${100 + at}`,
      privateIp: `10.20.0.${100 + at}`,
      ...other,
      id,
      address: `203.0.113.${100 + at}`,
    });
  }
}
