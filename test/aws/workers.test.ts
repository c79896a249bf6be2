import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { crossing } from '../../src/aws/request-fields.ts';
import { environmentKey } from '../../src/aws/worker-pool.ts';
import { MintError } from '../../src/errors.ts';
import { addKey, failureOf, instanceId, publicKey, request, setUp, writeHome } from './setup.ts';

test('a push authorises the key for that user of that instance and tells the request id', async (t) => {
  const { cloud, workers, environment } = await setUp(t);
  const { requestId } = await workers.push({ environment: environment() }, request);
  assert.equal(requestId, cloud.pushes[0]?.requestId);
  assert.deepEqual(cloud.authorizedKeys(instanceId, 'ubuntu'), [publicKey]);
  assert.deepEqual(cloud.authorizedKeys(instanceId, 'root'), []);
});

test('pushes of one environment share a thread, whatever the order of its variables', async (t) => {
  const { workers, environment, threads } = await setUp(t);
  const one = environment();
  const turned = Object.fromEntries(Object.entries(one).reverse());
  await Promise.all([one, turned, one].map((each) => workers.push({ environment: each }, request)));
  assert.equal(threads.length, 1);
});

test('a thread that was started before anyone came is the first caller’s, and no one else’s', async (t) => {
  const { cloud, workers, environment, threads } = await setUp(t);
  workers.expectCaller();
  assert.equal(threads.length, 1);
  const [anna, bert] = ['anna', 'bert'].map((name) => {
    const { id, secret } = addKey(cloud, name);
    return { id, environment: environment({ AWS_ACCESS_KEY_ID: id, AWS_SECRET_ACCESS_KEY: secret }) };
  });
  assert.ok(anna && bert);
  await workers.push(anna, request);
  assert.equal(threads.length, 1);
  await workers.push(bert, request);
  assert.equal(threads.length, 2);
  assert.deepEqual(
    cloud.pushes.map(({ accessKeyId }) => accessKeyId),
    [anna.id, bert.id],
  );
});

test('a thread that was started for a caller who does not come is ended', async (t) => {
  const { workers, environment, threads } = await setUp(t);
  workers.expectCaller();
  const [spare] = threads;
  assert.ok(spare);
  await once(spare, 'exit');
  await workers.push({ environment: environment() }, request);
  assert.equal(threads.length, 2);
});

test('environments have different keys where a variable differs, and no secret shows in one', () => {
  const one = environmentKey({ AWS_PROFILE: 'a', HOME: '/h' });
  assert.equal(one, environmentKey({ HOME: '/h', AWS_PROFILE: 'a' }));
  assert.notEqual(one, environmentKey({ AWS_PROFILE: 'a/h', HOME: '' }));
  assert.notEqual(one, environmentKey({ AWS_PROFILE: 'b', HOME: '/h' }));
  assert.match(environmentKey({ AWS_SECRET_ACCESS_KEY: 'secret' }), /^[\w-]{43}$/);
});

test('of a request only its own fields cross to a thread, whatever else a caller has in it', () => {
  const full = { region: 'eu-west-1', profile: 'work', instanceId, how: 'stop' as const };
  assert.deepEqual(crossing('endInstance', full), full);
  assert.deepEqual(crossing('endInstance', { ...full, ...{ secret: 's', constructor: 'c' } }), full);
  assert.deepEqual(crossing('identity', full), { region: 'eu-west-1', profile: 'work' });
});

test('two callers at the same moment each use their own credentials', async (t) => {
  const { cloud, workers, environment } = await setUp(t);
  const callers = ['anna', 'bert'].map((name) => {
    const { id, secret } = addKey(cloud, name);
    return { name, id, environment: environment({ AWS_ACCESS_KEY_ID: id, AWS_SECRET_ACCESS_KEY: secret }) };
  });
  const release = cloud.faults.hold();
  const pushes = [...callers, ...callers, ...callers].map(async (caller) => {
    const { requestId } = await workers.push(caller, { ...request, osUser: caller.name });
    return { requestId, id: caller.id };
  });
  while (cloud.faults.waiting < 6) await sleep(5);
  release();
  for (const { requestId, id } of await Promise.all(pushes)) {
    const push = cloud.pushes.find((each) => each.requestId === requestId);
    assert.equal(push?.accessKeyId, id);
  }
  for (const { user, accessKeyId } of cloud.pushes) {
    assert.equal(accessKeyId, callers.find((caller) => caller.name === user)?.id);
  }
});

test('expired credentials fail for their own caller alone', async (t) => {
  const { cloud, workers, environment } = await setUp(t);
  const old = addKey(cloud, 'old', { sessionToken: 'the-token-of-old', expiresAt: Date.now() - 1000 });
  const expired = environment({
    AWS_ACCESS_KEY_ID: old.id,
    AWS_SECRET_ACCESS_KEY: old.secret,
    AWS_SESSION_TOKEN: 'the-token-of-old',
  });
  const [error] = await Promise.all([
    failureOf(workers, expired),
    workers.push({ environment: environment() }, request),
  ]);
  assert.equal(error.code, 'aws-credentials');
  assert.match(error.message, /have expired/);
  assert.match(error.hint ?? '', /AWS_SESSION_TOKEN/);
});

test('keys renewed in the credentials file are used by the very next push', async (t) => {
  const { cloud, workers, home, homeEnvironment, threads } = await setUp(t);
  const old = addKey(cloud, 'old', { sessionToken: 'token-1', expiresAt: Date.now() + 1_500 });
  const renewed = addKey(cloud, 'renewed', { sessionToken: 'token-2' });
  const where = home();
  const write = (key: { id: string; secret: string }, token: string) =>
    writeHome(
      where,
      '.aws/credentials',
      `[default]\naws_access_key_id=${key.id}\naws_secret_access_key=${key.secret}\naws_session_token=${token}\n`,
    );
  write(old, 'token-1');
  const caller = { environment: homeEnvironment(where) };
  await workers.push(caller, request);
  await sleep(1_600);
  const error = await failureOf(workers, caller.environment);
  assert.match(error.message, /have expired/);
  assert.match(error.hint ?? '', /aws sso login|\.aws\/credentials/);
  write(renewed, 'token-2');
  await workers.push(caller, request);
  assert.equal(cloud.pushes.at(-1)?.accessKeyId, renewed.id);
  // Changed while they still are good: another account, so never the old keys.
  const other = addKey(cloud, 'other', { sessionToken: 'token-3' });
  write(other, 'token-3');
  await workers.push(caller, request);
  assert.equal(cloud.pushes.at(-1)?.accessKeyId, other.id);
  assert.equal(threads.length, 3);
});

test('old credentials that AWS refuses are resolved anew within the same push', async (t) => {
  const { cloud, workers, home, homeEnvironment, threads } = await setUp(t);
  const old = addKey(cloud, 'old', { sessionToken: 'token-1', expiresAt: Date.now() + 4_000 });
  const renewed = addKey(cloud, 'renewed', { sessionToken: 'token-2' });
  const where = home({ '.aws/config': '[default]\ncredential_process = cat "$HOME/keys.json"\n' });
  const write = ({ id, secret }: { id: string; secret: string }, token: string) => {
    const keys = { Version: 1, AccessKeyId: id, SecretAccessKey: secret, SessionToken: token };
    writeHome(where, 'keys.json', JSON.stringify(keys));
  };
  write(old, 'token-1');
  const caller = { environment: homeEnvironment(where) };
  await workers.push(caller, request);
  // Nothing tells a worker that what the command gave it has been replaced.
  write(renewed, 'token-2');
  await sleep(5_200);
  await Promise.all([workers.push(caller, request), workers.push(caller, request)]);
  assert.deepEqual(
    cloud.pushes.map((each) => each.accessKeyId),
    [old.id, renewed.id, renewed.id],
  );
  assert.equal(threads.length, 2);
});

test('a worker that ends in mid-call rejects what it was asked, and the next call gets a new one', async (t) => {
  const { cloud, workers, environment, threads } = await setUp(t);
  const caller = { environment: environment() };
  cloud.faults.hang();
  const failure = failureOf(workers, caller.environment);
  while (cloud.faults.waiting === 0) await sleep(5);
  await threads[0]?.terminate();
  const error = await failure;
  assert.equal(error.code, 'io-failed');
  assert.match(error.hint ?? '', /connect again/);
  cloud.faults.hang(false);
  await workers.push(caller, request);
  assert.equal(threads.length, 2);
});

test('the fifth environment ends the least recently used one, whose call in flight is still answered', async (t) => {
  const { cloud, workers, environment, threads } = await setUp(t);
  const environments = [1, 2, 3, 4, 5].map((number) => environment({ AWS_SDK_UA_APP_ID: `app${number}` }));
  const [first = {}, second = {}] = environments;
  for (const each of environments.slice(0, 4)) await workers.push({ environment: each }, request);
  await workers.push({ environment: first }, request);
  assert.equal(threads.length, 4);
  const release = cloud.faults.hold();
  const inFlight = workers.push({ environment: second }, request);
  while (cloud.faults.waiting < 1) await sleep(5);
  // Everyone else is used after the one in flight.
  const others = [0, 2, 3, 4].map((at) => workers.push({ environment: environments[at] ?? {} }, request));
  while (cloud.faults.waiting < 5) await sleep(5);
  assert.equal(threads.length, 5);
  const gone = once(threads[1] ?? assert.fail(), 'exit');
  release();
  await Promise.all([inFlight, ...others]);
  await gone;
  await workers.push({ environment: first }, request);
  assert.equal(threads.length, 5, 'the first was used and lives on');
  await workers.push({ environment: second }, request);
  assert.equal(threads.length, 6, 'the second has to start again');
});

test('a worker nobody has used for ten minutes ends', async (t) => {
  const { workers, environment, threads } = await setUp(t);
  t.mock.timers.enable({ apis: ['setTimeout'] });
  await workers.push({ environment: environment() }, request);
  t.mock.timers.tick(9 * 60_000);
  await workers.push({ environment: environment() }, request);
  t.mock.timers.tick(9 * 60_000);
  await workers.push({ environment: environment() }, request);
  assert.equal(threads.length, 1);
  const gone = once(threads[0] ?? assert.fail(), 'exit');
  t.mock.timers.tick(10 * 60_000);
  await gone;
});

test('warming resolves the credentials behind, and what fails there shows at the push alone', async (t) => {
  const { workers, environment, threads, home, homeEnvironment } = await setUp(t);
  workers.warm({ environment: environment() }, {});
  workers.warm({ environment: homeEnvironment(home()) }, { profile: 'nobody' });
  await workers.push({ environment: environment() }, request);
  assert.equal(threads.length, 2);
  const error = await failureOf(workers, homeEnvironment(home()), { profile: 'nobody' });
  assert.equal(error.code, 'aws-credentials');
});

test('closing ends every thread and rejects what is under way and what comes after', async (t) => {
  const { cloud, workers, environment, threads } = await setUp(t);
  cloud.faults.hang();
  const failure = failureOf(workers, environment());
  while (cloud.faults.waiting === 0) await sleep(5);
  const gone = once(threads[0] ?? assert.fail(), 'exit');
  await workers.close();
  await gone;
  assert.equal((await failure).code, 'agent-unavailable');
  await assert.rejects(workers.push({ environment: environment() }, request), MintError);
});
