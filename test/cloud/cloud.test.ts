import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import {
  EC2InstanceConnectClient,
  type EC2InstanceConnectClientConfig,
  SendSSHPublicKeyCommand,
  type SendSSHPublicKeyCommandInput,
} from '@aws-sdk/client-ec2-instance-connect';
import { wireFailureNames } from '../../src/demo/wire-failure.ts';
import { waitFor } from '../openssh/child.ts';
import { type Cloud, demoAccessKey, startCloud } from './cloud.ts';
import { freshEd25519Line, freshRsaLine } from './key-lines.ts';

const instance = 'i-0123456789abcdef0';
const keysDirectory = mkdtempSync(join(tmpdir(), 'mint-cloud-'));
let cloud: Cloud;

before(async () => {
  cloud = await startCloud({ keysDirectory });
  cloud.instances.set(instance, {
    id: instance,
    region: 'us-east-1',
    state: 'running',
    address: '127.0.0.1',
  });
});
beforeEach(() => cloud.faults.clear());
after(async () => {
  await cloud.close();
  rmSync(keysDirectory, { recursive: true });
});

function client(settings: EC2InstanceConnectClientConfig = {}): EC2InstanceConnectClient {
  return new EC2InstanceConnectClient({
    endpoint: cloud.endpoint,
    region: 'us-east-1',
    credentials: { accessKeyId: demoAccessKey.id, secretAccessKey: demoAccessKey.secret },
    maxAttempts: 1,
    ...settings,
  });
}

const text = (body: Uint8Array) => Buffer.from(body).toString();

function push(
  input: Partial<SendSSHPublicKeyCommandInput> = {},
  settings: EC2InstanceConnectClientConfig = {},
) {
  const wanted = {
    InstanceId: instance,
    InstanceOSUser: 'ubuntu',
    SSHPublicKey: freshEd25519Line(),
    ...input,
  };
  const sender = client(settings);
  return sender.send(new SendSSHPublicKeyCommand(wanted)).finally(() => sender.destroy());
}

describe('a push with a valid signature', { concurrency: true }, () => {
  test('authorises the key at once, in memory and on disk', async () => {
    const key = freshEd25519Line();
    assert.equal(key.length, 80);
    const answer = await push({ SSHPublicKey: key, InstanceOSUser: 'at-once' });
    assert.equal(answer.Success, true);
    assert.deepEqual(cloud.authorizedKeys(instance, 'at-once'), [key]);
    assert.equal(readFileSync(join(keysDirectory, instance, 'at-once'), 'utf8'), `${key}\n`);
    const record = cloud.pushes.at(-1);
    assert.equal(record?.key, key);
    assert.equal(record?.requestId, answer.RequestId);
    assert.equal(record?.requestId, answer.$metadata.requestId);
    assert.equal(record?.accessKeyId, demoAccessKey.id);
    assert.deepEqual(cloud.authorizedKeys(instance, 'another'), []);
  });

  test('of an RSA key with a comment is accepted too', async () => {
    const key = `${freshRsaLine()} someone@somewhere`;
    await push({ SSHPublicKey: key, InstanceOSUser: 'rsa' });
    assert.deepEqual(cloud.authorizedKeys(instance, 'rsa'), [key]);
  });

  test('leaves earlier keys valid', async () => {
    await push({ InstanceOSUser: 'several' });
    await push({ InstanceOSUser: 'several' });
    assert.equal(cloud.authorizedKeys(instance, 'several').length, 2);
  });
});

test('a pushed key is valid for 60 s and no longer', async () => {
  const [first, again] = [freshEd25519Line(), freshEd25519Line()];
  await push({ SSHPublicKey: first, InstanceOSUser: 'minute' });
  await push({ SSHPublicKey: again, InstanceOSUser: 'minute' });
  const path = join(keysDirectory, instance, 'minute');
  cloud.passTime(30_000);
  await push({ SSHPublicKey: again, InstanceOSUser: 'minute' });
  // Not the whole 60 s of the first key yet: the calls above took real time.
  cloud.passTime(25_000);
  assert.deepEqual(cloud.authorizedKeys(instance, 'minute'), [first, again]);
  cloud.passTime(5_000);
  assert.deepEqual(cloud.authorizedKeys(instance, 'minute'), [again]);
  assert.equal(readFileSync(path, 'utf8'), `${again}\n`);
  // The last of its time is real, so that a timer ends it.
  cloud.passTime(29_900);
  await waitFor('the end of the key', 15_000, () => !existsSync(path));
  assert.deepEqual(cloud.authorizedKeys(instance, 'minute'), []);
  assert.ok(!existsSync(`${path}~`));
});

describe('an invalid caller', { timeout: 180_000 }, () => {
  const refusedAs = (name: string) => ({ name });
  const credentials = { accessKeyId: demoAccessKey.id, secretAccessKey: demoAccessKey.secret };

  test('is refused for a wrong secret', async () => {
    const wrong = { ...credentials, secretAccessKey: 'wrong' };
    await assert.rejects(push({}, { credentials: wrong }), refusedAs('InvalidSignatureException'));
  });

  test('is refused for an unknown access key', async () => {
    const unknown = { ...credentials, accessKeyId: 'AKIANOBODYNOBODYNOBO' };
    await assert.rejects(push({}, { credentials: unknown }), refusedAs('UnrecognizedClientException'));
  });

  test('is refused for a session token that is missing, wrong, unasked for or expired', async () => {
    cloud.accessKeys.set('ASIATEMPORARY', { secret: 's', sessionToken: 'token' });
    cloud.accessKeys.set('ASIAEXPIRED', { secret: 's', sessionToken: 'token', expiresAt: Date.now() - 1 });
    const temporary = { accessKeyId: 'ASIATEMPORARY', secretAccessKey: 's' };
    const good = { ...temporary, sessionToken: 'token' };
    assert.equal((await push({}, { credentials: good })).Success, true);
    const unrecognised = refusedAs('UnrecognizedClientException');
    await assert.rejects(push({}, { credentials: temporary }), unrecognised);
    await assert.rejects(push({}, { credentials: { ...good, sessionToken: 'other' } }), unrecognised);
    await assert.rejects(push({}, { credentials: { ...credentials, sessionToken: 'token' } }), unrecognised);
    const expired = { ...good, accessKeyId: 'ASIAEXPIRED' };
    await assert.rejects(push({}, { credentials: expired }), refusedAs('ExpiredTokenException'));
  });

  test('is refused if its clock is ten minutes off, until the SDK has corrected for it', async () => {
    const skewed = { systemClockOffset: -10 * 60_000 };
    await assert.rejects(push({}, skewed), refusedAs('InvalidSignatureException'));
    await assert.rejects(
      push({}, { systemClockOffset: 10 * 60_000 }),
      refusedAs('InvalidSignatureException'),
    );
    assert.equal((await push({}, { ...skewed, maxAttempts: 2 })).Success, true);
  });

  test('is refused without a signature', async () => {
    const answer = await fetch(cloud.endpoint, {
      method: 'POST',
      headers: {
        'content-type': 'application/x-amz-json-1.1',
        'x-amz-target': 'AWSEC2InstanceConnectService.SendSSHPublicKey',
      },
      body: '{}',
    });
    assert.equal(answer.status, 400);
    assert.equal(answer.headers.get('x-amzn-errortype'), 'MissingAuthenticationTokenException');
  });

  test('is refused if the body or a header was changed', async () => {
    for (const change of ['body', 'date', 'unsigned'] as const) {
      const sender = client();
      sender.middlewareStack.add(
        (next) => (args) => {
          const request = args.request as { body: Uint8Array; headers: Record<string, string> };
          if (change === 'body') request.body = Buffer.from(text(request.body).replace('ubuntu', 'nobody'));
          if (change === 'date') request.headers['x-amz-date'] = '20200101T000000Z';
          if (change === 'unsigned') request.headers['x-amz-extra'] = 'x';
          return next(args);
        },
        { step: 'finalizeRequest', priority: 'low' },
      );
      const command = new SendSSHPublicKeyCommand({
        InstanceId: instance,
        InstanceOSUser: 'ubuntu',
        SSHPublicKey: freshEd25519Line(),
      });
      await assert.rejects(sender.send(command), refusedAs('InvalidSignatureException'), change);
    }
  });

  test('is refused what its policy denies', async () => {
    cloud.accessKeys.set('AKIADENIED', { secret: 's', refusal: 'AccessDeniedException' });
    const denied = { accessKeyId: 'AKIADENIED', secretAccessKey: 's' };
    await assert.rejects(push({}, { credentials: denied }), refusedAs('AccessDeniedException'));
  });
});

describe('an invalid push', { timeout: 180_000 }, () => {
  const cases: Record<string, [Partial<SendSSHPublicKeyCommandInput>, string]> = {
    'an instance id of another form': [{ InstanceId: 'i-XYZ' }, 'InvalidArgsException'],
    'an empty user': [{ InstanceOSUser: '' }, 'InvalidArgsException'],
    'a user of 33 characters': [{ InstanceOSUser: 'u'.repeat(33) }, 'InvalidArgsException'],
    'a user with a slash': [{ InstanceOSUser: '../root' }, 'InvalidArgsException'],
    'a key that is too short': [{ SSHPublicKey: 'ssh-ed25519 AAAA' }, 'InvalidArgsException'],
    'a key that is too long': [
      { SSHPublicKey: `${freshEd25519Line()} ${'c'.repeat(4096)}` },
      'InvalidArgsException',
    ],
    'a key of another type': [
      { SSHPublicKey: freshEd25519Line().replace('ssh-ed25519', 'ssh-ed25518') },
      'InvalidArgsException',
    ],
    'a key whose blob says otherwise': [
      { SSHPublicKey: freshEd25519Line().replace('ssh-ed25519', 'ssh-rsa') + 'c'.repeat(9) },
      'InvalidArgsException',
    ],
    'a key with options': [{ SSHPublicKey: `command="x" ${freshEd25519Line()}` }, 'InvalidArgsException'],
    'two keys': [{ SSHPublicKey: `${freshEd25519Line()}\n${freshEd25519Line()}` }, 'InvalidArgsException'],
    'an availability zone of another region': [{ AvailabilityZone: 'eu-west-1a' }, 'InvalidArgsException'],
    'an unknown instance': [{ InstanceId: 'i-0fffffffffffffff0' }, 'EC2InstanceNotFoundException'],
  };
  for (const [what, [input, name]] of Object.entries(cases)) {
    test(`is refused: ${what}`, async () => {
      const before = cloud.pushes.length;
      await assert.rejects(push(input), { name });
      assert.equal(cloud.pushes.length, before);
    });
  }

  test('is refused for an instance of another region or another state', async () => {
    await assert.rejects(push({}, { region: 'eu-west-1' }), { name: 'EC2InstanceNotFoundException' });
    const stopped = 'i-0123456789abcdef1';
    cloud.instances.set(stopped, {
      id: stopped,
      region: 'us-east-1',
      state: 'stopped',
      address: '127.0.0.1',
    });
    await assert.rejects(push({ InstanceId: stopped }), { name: 'EC2InstanceStateInvalidException' });
  });

  test('gets no more than a 413 for a body of a megabyte', async () => {
    const answer = await fetch(cloud.endpoint, { method: 'POST', body: Buffer.alloc(1 << 20) });
    assert.equal(answer.status, 413);
  });
});

describe('on request', { timeout: 300_000 }, () => {
  for (const name of wireFailureNames) {
    test(`the next push fails with ${name}`, async () => {
      cloud.faults.failNext(name);
      await assert.rejects(push(), { name });
      assert.equal(cloud.requests.at(-1)?.failure, name);
      assert.equal((await push()).Success, true);
    });
  }

  test('pushes over a rate are throttled, and the SDK tries again', async () => {
    cloud.faults.throttle({ perSecond: 5, burst: 2 });
    const results = await Promise.allSettled([push(), push(), push(), push()]);
    assert.equal(results.filter(({ status }) => status === 'fulfilled').length, 2);
    assert.equal((await push({}, { maxAttempts: 5 })).Success, true);
  });

  test('pushes are slow, held until released, or never answered', async () => {
    cloud.faults.delayMilliseconds = 200;
    const start = performance.now();
    await push();
    assert.ok(performance.now() - start >= 199);
    cloud.faults.clear();

    const release = cloud.faults.hold();
    const before = cloud.pushes.length;
    const held = push();
    await waitFor('the push', 15_000, () => cloud.faults.waiting === 1);
    assert.equal(cloud.pushes.length, before);
    release();
    assert.equal((await held).Success, true);

    cloud.faults.hang();
    const timeouts = { requestHandler: { requestTimeout: 200, throwOnRequestTimeout: true } };
    await assert.rejects(push({}, timeouts), { name: 'TimeoutError' });
    cloud.faults.hang(false);
    assert.equal((await push()).Success, true);
  });

  test('an answer is lost, and the key is still authorized', async () => {
    cloud.faults.loseAnswers();
    await assert.rejects(push({ InstanceOSUser: 'lost' }));
    assert.equal(cloud.authorizedKeys(instance, 'lost').length, 1);
  });
});
