/**
 * `npm run soak:leases [-- --rounds N]`: twenty orchestrators race for one project, a hundred times in files and a
 * hundred times in DynamoDB, with clocks up to a minute apart. Prints the results, and fails at the first round in which not
 * exactly one has what one may have.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { ownAws } from '../../src/aws/own-credentials.ts';
import { startDynamo } from '../ci/dynamo.ts';
import { race } from '../ci/lease-race.ts';

const { values } = parseArgs({ options: { rounds: { type: 'string', default: '100' } } });
const rounds = Number(values.rounds);
const configDir = mkdtempSync('/tmp/ml-');
const dynamo = await startDynamo();
const aws = ownAws();
const environment = {
  AWS_ENDPOINT_URL_DYNAMODB: dynamo.endpoint,
  AWS_ACCESS_KEY_ID: 'AKIADEMODEMODEMODEMO',
  AWS_SECRET_ACCESS_KEY: 'secret',
  AWS_REGION: 'us-east-1',
  AWS_EC2_METADATA_DISABLED: 'true',
};
const table = {
  name: 'mint-leases',
  send: (call: Parameters<typeof aws.table>[1]) => aws.table({ environment }, call),
};
try {
  await dynamo.makeTable(table.name);
  for (const [name, options] of [
    ['files', { processes: 20, each: 1 }],
    ['DynamoDB', { processes: 5, each: 4, table, environment }],
  ] as const) {
    const begin = performance.now();
    const [free, late, held] = await race({ configDir, rounds, ...options });
    const seconds = ((performance.now() - begin) / 1000).toFixed(1);
    process.stdout.write(
      `${name}: 20 orchestrators, ${rounds} rounds in ${seconds} s: ${free} free projects and ${late} of dead holders ` +
        `were each taken by exactly one, ${held} held ones by none\n`,
    );
  }
} finally {
  await aws.close();
  await dynamo.close();
  rmSync(configDir, { recursive: true, force: true });
}
