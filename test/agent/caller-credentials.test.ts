import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { CallerCredentials } from '../../src/agent/credentials/caller-credentials.ts';
import { filesStamp } from '../../src/aws/credentials.ts';

test('keeps what a command shares only while the AWS files are those it was resolved from', (context) => {
  const home = mkdtempSync(join(tmpdir(), 'mint-test-'));
  context.after(() => rmSync(home, { recursive: true, force: true }));
  mkdirSync(join(home, '.aws'));
  const config = (role: string) =>
    writeFileSync(join(home, '.aws/config'), `[default]\nrole_arn = ${role}\nsource_profile = other\n`);
  config('arn:aws:iam::111122223333:role/first');
  const caller = { environment: { HOME: home }, session: 'one' };
  const stamp = filesStamp(caller.environment);
  const share = () => {
    const known = new CallerCredentials();
    const source = { kind: 'role', profile: 'default', runsProcess: false } as const;
    const credentials = { accessKeyId: 'ASIAEXAMPLE', secretAccessKey: 'secret', source };
    known.share({ type: 'share-credentials', credentials, profile: undefined, stamp, ...caller });
    return known.current(caller, undefined)?.accessKeyId;
  };
  assert.equal(share(), 'ASIAEXAMPLE');
  config('arn:aws:iam::111122223333:role/another-account');
  assert.equal(share(), undefined);
});
