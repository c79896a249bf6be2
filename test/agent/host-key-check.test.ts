/** `HostKeyChecks` with the stand-in cloud: who is asked about a key, who may answer, and what a failed write does. */
import assert from 'node:assert/strict';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { describe, type TestContext, test } from 'node:test';
import type { Presented } from '../../src/agent/console-questions.ts';
import type { AgentContext } from '../../src/agent/context.ts';
import { HostKeyChecks } from '../../src/agent/host-key-check.ts';
import { HostKeyRefusal } from '../../src/agent/host-key-refusal.ts';
import { vmPaths } from '../../src/platform/paths.ts';
import { loadSettings } from '../../src/settings/settings.ts';
import type { HostKey } from '../../src/ssh/hostkey.ts';
import { TrustStore } from '../../src/trust/store.ts';
import { instanceId, setUp } from '../aws/setup.ts';
import { demoRegion } from '../cloud/cloud.ts';
import { bootConsole } from '../cloud/console.ts';
import { derivedOf, ed25519Key, filesOf, temporaryPaths } from '../trust/place.ts';

const [old, fresh] = [ed25519Key(), ed25519Key()];
const line = ({ type, blob }: HostKey) => `${type} ${blob.toString('base64')}`;

async function makeChecks(t: TestContext, toml = '') {
  const { cloud, aws, environment } = await setUp(t);
  const paths = temporaryPaths(t);
  mkdirSync(paths.dir, { recursive: true, mode: 0o700 });
  writeFileSync(paths.sshToml, `verify = "console"\n${toml}`, { mode: 0o600 });
  const trust = new TrustStore(paths);
  // The checks use no other part of the context.
  const context = { paths, log: () => {}, aws, trust } as unknown as AgentContext;
  const checks = new HostKeyChecks(context);
  const questions: string[] = [];
  const presented = (key: HostKey, more: Partial<Presented> = {}): Presented => ({
    sighting: { vm: 'dev', key, instance: instanceId, account: '123456789012', region: demoRegion },
    settings: loadSettings(paths, {}).named('dev'),
    caller: { environment: environment() },
    ask: async () => {
      questions.push('asked');
      return 'cannot-ask';
    },
    isMintVm: true,
    ...more,
  });
  const shows = (...keys: HostKey[]) => {
    const vm = cloud.instances.get(instanceId);
    assert.ok(vm);
    const text = bootConsole(keys.map(line));
    cloud.instances.set(instanceId, { ...vm, console: { text, at: Date.now() } });
  };
  const consoleRequests = () =>
    cloud.requests.filter((one) => JSON.stringify(one).includes('GetConsoleOutput')).length;
  return { cloud, aws, environment, paths, trust, checks, presented, questions, shows, consoleRequests };
}

const refusal = (code: string) => (error: unknown) => error instanceof HostKeyRefusal && error.code === code;

/** A VM that was recreated, with all the evidence that can speak for it. */
async function recreated(t: TestContext, toml = '') {
  const made = await makeChecks(t, toml);
  const { cloud, aws, environment, trust, shows } = made;
  const { owner } = await aws.identity({ environment: environment() }, {});
  const before = { vm: 'dev', instance: 'i-0aaaaaaaaaaaaaaaa', account: '123456789012', region: demoRegion };
  const checked = await trust.check({ ...before, key: old });
  assert.ok(checked.outcome === 'new');
  checked.provisional.pin();
  trust.noteLogin('dev');
  const vm = cloud.instances.get(instanceId);
  assert.ok(vm);
  cloud.instances.set(instanceId, {
    ...vm,
    tags: { mint: 'true', 'mint:owner': owner },
    launchTime: Date.now() + 60_000,
  });
  shows(fresh);
  return made;
}

describe('a changed key', () => {
  test('causes a prompt although all evidence supports it, unless accept_changed = "console"', async (t) => {
    const { checks, presented, questions, trust } = await recreated(t);
    await assert.rejects(checks.check(presented(fresh)), refusal('host-key-changed'));
    assert.deepEqual(questions, ['asked']);
    assert.equal(trust.show('dev')?.pin?.fingerprint, old.fingerprint);
  });

  test('is accepted by the evidence with accept_changed = "console", and not without', async (t) => {
    const { checks, presented, questions, trust } = await recreated(t, 'accept_changed = "console"\n');
    await assert.rejects(checks.check(presented(ed25519Key())), refusal('host-key-changed'));
    assert.deepEqual(questions, ['asked']);
    assert.deepEqual(await checks.check(presented(fresh)), { outcome: 'match' });
    assert.deepEqual(questions, ['asked']);
    assert.equal(trust.show('dev')?.pin?.evidence, 'accepted');
  });

  test('is accepted only by a yes', async (t) => {
    const { checks, presented, trust } = await recreated(t);
    for (const answer of ['no', 'timeout', 'cannot-ask'] as const) {
      await assert.rejects(
        checks.check(presented(fresh, { ask: async () => answer })),
        refusal('host-key-changed'),
      );
      assert.equal(trust.show('dev')?.pin?.fingerprint, old.fingerprint, answer);
    }
    const accepted = await checks.check(presented(fresh, { ask: async () => 'yes' }));
    assert.equal(accepted.outcome, 'match');
    assert.equal(trust.show('dev')?.pin?.fingerprint, fresh.fingerprint);
  });

  test('that was accepted but cannot be recorded stays blocked', async (t) => {
    const { checks, presented, trust, paths } = await recreated(t);
    const { record } = vmPaths(paths, 'dev');
    rmSync(record);
    const ask = async () => {
      mkdirSync(record);
      return 'yes' as const;
    };
    await assert.rejects(checks.check(presented(fresh, { ask })));
    rmSync(record, { recursive: true });
    assert.notEqual(trust.show('dev')?.pin?.fingerprint, fresh.fingerprint);
  });
});

describe('a first key', () => {
  test('causes one console request for many connections of one identity', async (t) => {
    const { checks, presented, shows, consoleRequests } = await makeChecks(t);
    shows(fresh);
    const all = await Promise.all([1, 2, 3].map(() => checks.check(presented(fresh))));
    assert.ok(all.every((one) => one.outcome === 'unknown' && one.evidence === 'console'));
    assert.equal(consoleRequests(), 1);
    await assert.rejects(checks.check(presented(old)), refusal('host-key-unverified'));
  });

  test('of one identity is not accepted because AWS denies the console to another', async (t) => {
    const { checks, presented, shows, environment } = await makeChecks(t);
    shows(fresh);
    const stranger = { environment: environment({ AWS_SECRET_ACCESS_KEY: 'another' }) };
    const [denied, refused] = await Promise.allSettled([
      checks.check(presented(old, { caller: stranger })),
      checks.check(presented(old)),
    ]);
    assert.equal(denied.status, 'fulfilled');
    assert.equal(refused.status, 'rejected');
  });

  test('causes no console request with verify = "tofu", or for a machine outside AWS', async (t) => {
    const { checks, presented, shows, consoleRequests } = await makeChecks(t);
    shows(fresh);
    const given = presented(old);
    const trusting = await checks.check({ ...given, settings: { ...given.settings, verify: 'tofu' } });
    assert.equal(trusting.outcome, 'unknown');
    const elsewhere = await checks.check({ ...given, sighting: { vm: 'plain', key: old } });
    assert.equal(elsewhere.outcome, 'unknown');
    assert.equal(consoleRequests(), 0);
  });
});

describe('a session with a key that is not pinned now', () => {
  test('keeps keys that ssh writes from being adopted until it has ended, and afterwards', async (t) => {
    const { checks, presented, trust, paths, shows } = await makeChecks(t);
    shows(old);
    const first = await checks.check(presented(old));
    assert.ok(first.outcome === 'unknown');
    first.provisional.pin();
    const { knownHosts } = vmPaths(paths, 'dev');
    const session = {};
    checks.note(session, 'dev', ed25519Key());
    const added = derivedOf('dev', old, fresh);
    writeFileSync(knownHosts, added, { mode: 0o600 });
    checks.forget(session, 'dev');
    assert.equal(filesOf(paths, 'dev').derived, derivedOf('dev', old));
    // Its ssh writes once more, behind the end of its connection.
    writeFileSync(knownHosts, added, { mode: 0o600 });
    await assert.rejects(checks.check(presented(fresh)), refusal('host-key-changed'));
    assert.equal(trust.isPinned('dev', fresh), false);
  });
});
