/** The key of a job: in the agent's memory from `begin` to `end`, and nowhere else. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import { beginJob, endJob, type Job, listJobs, setJob } from '../../src/ci/jobs.ts';
import { resolvePaths } from '../../src/platform/paths.ts';
import {
  failure,
  Host,
  keyClient,
  keyPath,
  loginData,
  newSession,
  proxyConnection,
  signed,
} from '../agent/clients.ts';
import { findInMemory, mayRead, seedInMemory } from './memory.ts';
import { loginUser, makeWorld, mintProgram, type World, waitFor } from './world.ts';

describe('a job’s key', () => {
  let world: World;
  const paths = () => resolvePaths({ configDir: world.configDir }, {});
  const hostKey = () => Buffer.from(world.sshd('vm').hostKey.line.split(' ')[1] ?? '', 'base64');
  /** An environment without AWS settings, and without the VM's address. */
  const environment = { AWS_ACCESS_KEY_ID: undefined, AWS_SECRET_ACCESS_KEY: undefined };
  const ssh = (name: string, command = 'echo hello') =>
    world.run(mintProgram, ['ssh', name, '--', command], { env: environment });

  const startAgent = async () => {
    const agent = world.start(mintProgram, ['agent'], { timeout: 600_000 });
    await agent.until(/listens/, 30_000);
    return agent;
  };

  /** Does what cloud-init does with the user data. */
  const boot = ({ publicKey }: Job) => {
    const directory = join(world.directory, 'keys', world.vm('vm').instance);
    mkdirSync(directory, { recursive: true });
    writeFileSync(join(directory, loginUser), `${publicKey}\n`);
  };

  before(async () => {
    world = await makeWorld({ vms: { vm: {} } });
    await startAgent();
  });
  afterEach(async () => {
    for (const { name } of await listJobs(paths())) await endJob(paths(), name);
  });
  after(() => world.end());

  test('logs in to the machine that the job names, whose host key is known before', async () => {
    const begun = await beginJob(paths(), { name: 'Build-1', user: loginUser, hostKey: hostKey() });
    assert.deepEqual(
      [begun.name, begun.state, begun.port, begun.host, begun.hostKey],
      ['build-1', 'open', 22, undefined, world.sshd('vm').hostKey.fingerprint],
    );
    boot(begun);
    const early = await ssh('build-1');
    assert.match(early.stderr, /has no address yet \(dial-failed\)/);
    assert.match(early.stderr, /mint-ssh job set build-1 --host ADDRESS/);
    await setJob(paths(), { name: 'build-1', host: '127.0.0.1', port: world.vm('vm').port });
    const before = world.cloud.requests.length;
    const { status, stdout, stderr } = await ssh('build-1');
    assert.deepEqual([status, stdout], [0, 'hello\n'], stderr);
    assert.equal(world.cloud.requests.length, before);
    const record = statSync(paths().jobs);
    assert.equal(record.mode & 0o777, 0o600);
    assert.doesNotMatch(readFileSync(paths().jobs, 'utf8'), /PRIVATE/);
    await endJob(paths(), 'build-1');
    assert.deepEqual(await listJobs(paths()), []);
    assert.equal(world.file('hosts/build-1.json'), undefined);
    assert.doesNotMatch(world.file('known_hosts') ?? '', /build-1/);
    const after = await ssh('build-1');
    assert.notEqual(after.status, 0);
    assert.match(after.stderr, /\((?:vm-not-found|aws-credentials)\)/);
  });

  test('does not sign after the job has ended', async () => {
    const [host, session] = [new Host(), newSession()];
    const { publicKey } = await beginJob(paths(), { name: 'brief', user: loginUser, hostKey: host.blob });
    await setJob(paths(), { name: 'brief', host: '127.0.0.1' });
    const key = Buffer.from(publicKey.split(' ')[1] ?? '', 'base64');
    const control = await proxyConnection(world, 'brief', host, session);
    const client = await keyClient(keyPath(world, 'brief'));
    assert.deepEqual(await client.list(), [key]);
    assert.equal(await client.sign(key, loginData({ session, key })), signed);
    const [{ pid } = { pid: 0 }] = world.agents();
    const seed = mayRead(pid) ? seedInMemory(pid, key.subarray(-32)) : undefined;
    assert.ok(seed !== undefined || !mayRead(pid), 'the seed was not found in the agent');
    await endJob(paths(), 'brief');
    assert.equal(existsSync(keyPath(world, 'brief')), false);
    assert.ok((await client.list()).every((listed) => !listed.equals(key)));
    assert.equal(await client.sign(key, loginData({ session, key })), failure);
    client.close();
    await control.close();
    if (seed !== undefined)
      await waitFor('the key to be gone from memory', 30_000, () => findInMemory(pid, seed).length === 0);
  });

  test('is not used with a machine that has another host key than the job’s', async () => {
    const job = await beginJob(paths(), { name: 'other', user: loginUser, hostKey: new Host().blob });
    boot(job);
    await setJob(paths(), { name: 'other', host: '127.0.0.1', port: world.vm('vm').port });
    const accepted = world.sshd('vm').accepted();
    const { status, stderr } = await ssh('other');
    assert.equal(status, 255);
    assert.match(stderr, /the host key of other has changed.* \(host-key-changed\)/);
    assert.equal(world.sshd('vm').accepted(), accepted);
  });

  test('is not begun under a name that is taken, and an unknown job is not changed', async () => {
    const begin = (name: string) => beginJob(paths(), { name, user: loginUser, hostKey: undefined });
    await assert.rejects(begin('vm'), { code: 'bad-vm-name' });
    await assert.rejects(begin('../x'), { code: 'bad-vm-name' });
    await begin('twice');
    await assert.rejects(begin('twice'), { code: 'job-exists' });
    await assert.rejects(setJob(paths(), { name: 'none', host: '127.0.0.1' }), { code: 'job-not-found' });
    await assert.rejects(setJob(paths(), { name: 'twice', host: '-oProxyCommand=x' }), {
      code: 'bad-settings',
    });
    await assert.rejects(endJob(paths(), 'none'), { code: 'job-not-found' });
  });

  test('keeps the agent from being stopped, and is lost with a killed agent, which the next ssh reports', async () => {
    await beginJob(paths(), { name: 'held', user: loginUser, hostKey: undefined });
    await setJob(paths(), { name: 'held', host: '127.0.0.1', port: world.vm('vm').port });
    const stop = await world.mint('agent', 'stop');
    assert.equal(stop.status, 1);
    assert.match(stop.stderr, /the agent holds a job key: held \(agent-in-use\)/);
    const [agent] = world.agents();
    assert.ok(agent !== undefined);
    process.kill(agent.pid, 'SIGKILL');
    await waitFor('the agent to end', 15_000, () => world.agents().length === 0 || undefined);
    assert.deepEqual(
      (await listJobs(paths())).map(({ name, state }) => [name, state]),
      [['held', 'lost']],
    );
    const { status, stderr } = await ssh('held');
    assert.equal(status, 255);
    assert.match(stderr, /was lost when its agent ended \(job-lost\)/);
    assert.match(stderr, /mint-ssh job end held/);
    assert.equal((await endJob(paths(), 'held')).state, 'lost');
    assert.deepEqual(await listJobs(paths()), []);
  });
});
