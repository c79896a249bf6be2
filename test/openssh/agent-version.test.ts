/** Programs of several versions meet one agent: the newer ones get a newer agent, and no session is dropped. */
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { describe, test } from 'node:test';
import { protocolVersion } from '../../src/agent/control/protocol.ts';
import { beginJob, endJob } from '../../src/ci/jobs.ts';
import { resolvePaths } from '../../src/platform/paths.ts';
import { controlClient, controlPath, Host, newSession, openRequest, seenRequest } from '../agent/clients.ts';
import { agentWorld } from './agent-world.ts';
import { loginUser, waitFor } from './world.ts';

describe('versions of the agent', () => {
  const { world, openSession, isAlive, logsIn, oneAgent, liveConnections } = agentWorld({ dev: {} });
  const newer = { version: protocolVersion + 1 };

  test('an agent exits for a newer program, and an established session finds the next agent', async () => {
    const session = await openSession();
    const { pid } = oneAgent();
    const client = await controlClient(controlPath(world()));
    client.send(openRequest(world(), 'dev', newer));
    await client.reply('superseded');
    await client.close();
    await waitFor(
      'another agent',
      30_000,
      () =>
        world()
          .agents()
          .some((agent) => agent.pid !== pid) || undefined,
    );
    await isAlive(session);
    await liveConnections(1);
    await logsIn();
  });

  test('an agent that holds a job key does not exit', async () => {
    await logsIn();
    const paths = resolvePaths({ configDir: world().configDir }, {});
    await beginJob(paths, { name: 'job', user: loginUser, hostKey: undefined });
    const client = await controlClient(controlPath(world()));
    client.send(openRequest(world(), 'dev', newer));
    await assert.rejects(client.reply('target'), /another version, and holds a job key/);
    await endJob(paths, 'job');
    client.send(openRequest(world(), 'dev', newer));
    await client.reply('superseded');
    await client.close();
  });

  test('an established session of an older program is accepted, a login of one is refused', async () => {
    await logsIn();
    const client = await controlClient(controlPath(world()));
    client.send(openRequest(world(), 'dev', { version: protocolVersion - 1 }));
    await assert.rejects(client.reply('target'), /another version, a newer one/);
    client.send(openRequest(world(), 'dev', { version: protocolVersion - 1, established: true }));
    await client.reply('target');
    await client.close();
  });

  test('a proxy of version 3 reports its session with the messages of that version', async () => {
    await logsIn();
    const host = new Host();
    await world().mint('hosts', 'forget', 'dev');
    const proxy = await controlClient(controlPath(world()));
    proxy.send(openRequest(world(), 'dev', { version: 3, established: true }));
    await proxy.reply('target');
    proxy.send({ ...seenRequest(host.blob, host.sign(newSession())), type: 'seen' });
    await proxy.reply('host-key-checked');
    proxy.send({ type: 'proceeded' });
    proxy.send({ type: 'refused?' });
    await proxy.reply('refusal');
    await proxy.close();
    await world().mint('hosts', 'forget', 'dev');
  });

  test('ssh waits until an older agent has gone, and logs in through the next one', async () => {
    await logsIn();
    await world().mint('agent', 'stop');
    await waitFor('the agent to end', 15_000, () => world().agents().length === 0 || undefined);
    let asked = 0;
    const older = createServer((socket) => {
      socket.once('data', () => {
        asked += 1;
        rmSync(controlPath(world()), { force: true });
        socket.end('{"type":"makes-way"}\n');
      });
    });
    await new Promise<void>((resolve) => older.listen(controlPath(world()), resolve));
    try {
      await logsIn();
    } finally {
      older.close();
    }
    assert.equal(asked, 1);
  });
});
