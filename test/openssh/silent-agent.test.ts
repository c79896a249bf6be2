import assert from 'node:assert/strict';
import { test } from 'node:test';
import { makeWorld, waitFor } from './world.ts';

test('ssh does not wait forever for an agent that stops answering', {
  timeout: 300_000,
}, async () => {
  const world = await makeWorld({ vms: { dev: { relay: true } } });
  let stopped: number | undefined;
  try {
    assert.equal((await world.ssh('dev', 'true')).status, 0);
    const [agent] = world.agents();
    const { relay } = world.vm('dev');
    assert.ok(agent !== undefined && relay !== undefined);
    const dialled = relay.accepted;
    const release = relay.holdServer();
    const ssh = world.startSsh(['dev', 'echo in'], { timeout: 80_000 });
    await waitFor('the proxy to dial', 15_000, () => relay.accepted > dialled);
    // It has answered the first request, but not the host key check.
    process.kill(agent.pid, 'SIGSTOP');
    stopped = agent.pid;
    release();
    const { status, stderr } = await ssh.done;
    assert.equal(status, 255);
    assert.match(stderr, /the agent does not answer \(agent-unavailable\)/);
  } finally {
    if (stopped !== undefined) process.kill(stopped, 'SIGCONT');
    await world.end();
  }
});
