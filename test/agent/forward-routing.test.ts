import assert from 'node:assert/strict';
import { generateKeyPairSync, randomBytes, sign } from 'node:crypto';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import { type ForwardingConnection, routeForward } from '../../src/agent/forward.ts';
import { AgentFrames, failureReply, parseAgentRequest } from '../../src/ssh/agent-messages.ts';
import { parseHostKey } from '../../src/ssh/hostkey.ts';
import { encodeString } from '../../src/ssh/wire.ts';
import { startUsersAgent, type UsersAgent } from '../openssh/users-agent.ts';
import { type Child, makeWorld, type World } from '../openssh/world.ts';

/** A session of a VM: its host key, session id and the host's signature, as a key exchange has them. */
function makeSession() {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  const raw = publicKey.export({ format: 'der', type: 'spki' }).subarray(-32);
  const name = encodeString('ssh-ed25519');
  const hostKey = Buffer.concat([name, encodeString(raw)]);
  const sessionId = randomBytes(32);
  const signature = Buffer.concat([name, encodeString(sign(null, sessionId, privateKey))]);
  return { hostKey, sessionId, signature };
}

describe('which agent a forwarded request reaches', () => {
  const one = makeSession();
  const two = makeSession();
  const connection = (
    { hostKey, signature }: ReturnType<typeof makeSession>,
    upstreamAgent: string | undefined,
    client: boolean | 'unknown' = true,
  ): ForwardingConnection => ({
    host: { exchange: { hostKey: parseHostKey(hostKey), signature } },
    upstreamAgent,
    clientBinds: client === 'unknown' ? undefined : client,
    isLoggingIn: client === 'unknown',
  });
  const bind = (session: ReturnType<typeof makeSession>, isForwarding = true) => ({
    ...session,
    isForwarding,
  });
  const routed = (...given: Parameters<typeof routeForward>) => {
    const route = routeForward(...given);
    return 'upstream' in route ? route.upstream : `none: ${route.refusal}`;
  };
  const both = [connection(one, '/a'), connection(two, '/b')];
  const differ = /^none: ssh did not say which of 2 connections asks/;

  test('the agent of the connection whose session the client names first', () => {
    assert.equal(routed(bind(one), both, undefined), '/a');
    assert.equal(routed(bind(two), both, undefined), '/b');
    assert.equal(routed(bind(two), both.toReversed(), undefined), '/b');
  });

  test('none for a connection whose user has no agent or IdentityAgent none, even if others have one', () => {
    const live = [connection(one, '/a'), connection(two, undefined)];
    assert.equal(routed(bind(one), live, undefined), '/a');
    assert.match(routed(bind(two), live, undefined), /^none: its user has no agent/);
    assert.match(routed(bind(two), [connection(one, '/a'), connection(two, 'none')], undefined), /^none/);
    assert.match(routed(undefined, [connection(one, undefined)], undefined), /^none: its user has no agent/);
  });

  test('without a session: the one agent that all connections have, else none', () => {
    assert.equal(routed(undefined, [connection(one, '/a'), connection(two, '/a')], undefined), '/a');
    for (const other of ['/b', 'none', undefined])
      assert.match(routed(undefined, [connection(one, '/a'), connection(two, other)], undefined), differ);
    assert.match(routed(undefined, [], undefined), /^none: no connection/);
  });

  test('a VM cannot name another of its sessions through a client that names none itself', () => {
    for (const silent of [false, 'unknown'] as const) {
      const live = [connection(one, '/a', silent), connection(two, '/b', true)];
      assert.match(routed(bind(two), live, undefined), differ);
      assert.match(routed(bind(one), live, undefined), differ);
    }
  });

  test('a session for a login, an unknown or forged one: none', () => {
    assert.match(routed(bind(one, false), both, undefined), /^none: its session was named for a login/);
    const unknown = /^none: its session does not run through this agent/;
    assert.match(routed(bind(makeSession()), both, undefined), unknown);
    assert.match(routed({ ...bind(one), sessionId: two.sessionId }, both, undefined), unknown);
    assert.match(routed({ ...bind(one), hostKey: two.hostKey }, both, undefined), unknown);
  });

  test('a connection without a key exchange does not count: it has no channels', () => {
    const dialling = { ...connection(two, '/b'), host: { exchange: undefined } };
    assert.equal(routed(undefined, [connection(one, '/a'), dialling], undefined), '/a');
    assert.match(routed(undefined, [dialling], undefined), /^none: no connection/);
    assert.match(routed(bind(two), [dialling], '/chosen'), /^none: no connection/);
  });

  test('upstream_agent decides while a connection is open', () => {
    assert.equal(routed(undefined, both, '/chosen'), '/chosen');
    assert.match(routed(undefined, [], '/chosen'), /^none/);
  });
});

describe('two shells with two agents on one VM', { timeout: 180_000 }, () => {
  let world: World;
  let a: UsersAgent;
  let b: UsersAgent;
  const open: Child[] = [];
  const relays: (() => void)[] = [];
  before(async () => {
    world = await makeWorld();
    [a, b] = [await startUsersAgent(world, 'a'), await startUsersAgent(world, 'b')];
    const run = (name: string) => join(world.configDir, 'run', name);
    relays.push(await withoutBinds(run('agent/dev.sock'), join(world.directory, 'login')));
    relays.push(await withoutBinds(run('forward/dev.sock'), join(world.directory, 'forward')));
  });
  afterEach(async () => {
    for (const shell of open.splice(0)) await leave(shell);
    await world.ssh('dev', 'true');
  });
  after(async () => {
    for (const close of relays) close();
    await a?.stop();
    await b?.stop();
    await world?.end();
  });

  type Client = 'names its sessions' | 'names none';
  /** The options that take every session-bind out of what ssh tells its agents. */
  const options = (client: Client) =>
    client === 'names its sessions'
      ? []
      : [
          '-o',
          `IdentityAgent=${join(world.directory, 'login')}`,
          '-o',
          `ForwardAgent=${join(world.directory, 'forward')}`,
        ];

  /** A shell on dev that says for each line what keys it can reach. */
  async function shell(agent: UsersAgent | undefined, client: Client, forwards: boolean): Promise<Child> {
    const script = 'echo in; while read -r line; do echo "[$line $(ssh-add -l 2>&1)]"; done';
    const flags = client === 'names none' ? options(client) : [];
    const forward = forwards ? ['-A'] : ['-a'];
    const child = world.startSsh([...flags, ...forward, 'dev', script], {
      env: { SSH_AUTH_SOCK: agent?.socket },
      holdInput: true,
      timeout: 120_000,
    });
    open.push(child);
    await child.until(/in\n/);
    return child;
  }
  let serial = 0;
  async function reached(child: Child): Promise<string> {
    serial += 1;
    child.stdin.write(`q${serial}\n`);
    const [, answer = ''] = await child.until(new RegExp(`\\[q${serial} ([^\\]]*)\\]`));
    return /\b(\w+-key)\b/.exec(answer)?.[1] ?? answer;
  }
  async function leave(child: Child) {
    child.stdin.end();
    return await child.done;
  }
  const nothing = /no identities/;
  const noSocket = /Could not open a connection|Error connecting/;

  const orders = ['first', 'second'] as const;
  for (const order of orders) {
    for (const [withA, without] of [
      ['names its sessions', 'names its sessions'],
      ['names its sessions', 'names none'],
      ['names none', 'names its sessions'],
      ['names none', 'names none'],
    ] as const) {
      test(`-A by a client that ${withA}, ${order}; the other ${without}: no key that was not forwarded`, async () => {
        const openers = {
          forwarding: () => shell(a, withA, true),
          other: () => shell(b, without, false),
        };
        const shells: { forwarding?: Child; other?: Child } = {};
        for (const each of order === 'first'
          ? (['forwarding', 'other'] as const)
          : (['other', 'forwarding'] as const))
          shells[each] = await openers[each]();
        const { forwarding, other } = shells;
        assert.ok(forwarding && other);
        assert.match(await reached(other), noSocket);
        const areNamed = withA === 'names its sessions' && without === 'names its sessions';
        if (areNamed) assert.equal(await reached(forwarding), 'a-key');
        else {
          assert.match(await reached(forwarding), nothing);
          const { stdout } = await world.mint('agent', 'status');
          assert.match(stdout, /dev: 2 connections.*`ssh -A` reached no agent: .*different agents/);
          const next = await world.startSsh(['dev', 'true'], { env: { SSH_AUTH_SOCK: b.socket } }).done;
          assert.match(
            next.stderr,
            /^mint-ssh: an earlier `ssh -A dev` reached no agent: .*different agents\n$/,
          );
          const again = await world.startSsh(['dev', 'true'], { env: { SSH_AUTH_SOCK: b.socket } }).done;
          assert.equal(again.stderr, '', 'told once');
          assert.match(world.file('run/agent.log') ?? '', /dev: a forwarded request reached no agent/);
        }
        open.splice(open.indexOf(other), 1);
        await leave(other);
        await world.mint('agent', 'status');
        assert.equal(await reached(forwarding), 'a-key', 'alone again');
      });
    }
  }

  test('both with -A: each reaches its own agent, and no client without session names reaches another’s', async () => {
    const [one, two] = [
      await shell(a, 'names its sessions', true),
      await shell(b, 'names its sessions', true),
    ];
    assert.deepEqual([await reached(one), await reached(two)], ['a-key', 'b-key']);
    const third = await shell(a, 'names none', true);
    for (const each of [one, two, third]) assert.match(await reached(each), nothing);
  });

  test('a user without an agent, or with IdentityAgent none, gets none of another shell', async () => {
    const one = await shell(a, 'names its sessions', true);
    const two = await shell(undefined, 'names its sessions', true);
    assert.deepEqual([await reached(one), nothing.test(await reached(two))], ['a-key', true]);
    await leave(two);
    const none = world.startSsh(
      [
        '-A',
        '-o',
        `ProxyCommand=${join(import.meta.dirname, '../../dist/mint-ssh')} proxy --upstream-agent none dev %p %r`,
        'dev',
        'ssh-add -l; true',
      ],
      { env: { SSH_AUTH_SOCK: b.socket } },
    );
    assert.match((await none.done).stdout, nothing);
    assert.equal(await reached(one), 'a-key');
  });
});

/** A socket in front of an agent's that refuses session-bind, as an ssh before 8.9 does not send it. */
async function withoutBinds(path: string, relay: string): Promise<() => void> {
  const server = createServer((client) => {
    const agent = connect(path);
    const frames = new AgentFrames();
    client.on('error', () => agent.destroy()).on('close', () => agent.destroy());
    agent.on('error', () => client.destroy()).on('close', () => client.destroy());
    client.on('data', (chunk) => {
      for (const message of frames.push(chunk)) {
        if (parseAgentRequest(message).type === 'extension') client.write(failureReply());
        else agent.write(encodeString(message));
      }
    });
    agent.pipe(client);
  });
  await new Promise<void>((resolve) => server.listen(relay, resolve));
  return () => server.close();
}
