import assert from 'node:assert/strict';
import type { World } from '../openssh/world.ts';

/**
 * The client logged in, and not on its own word alone: the pin that its first login left says that the agent
 * itself verified the session it signed for.
 */
export async function assertBound(world: World, vm: string): Promise<void> {
  const { stdout, stderr } = await world.mint('hosts', 'show', vm, '--json');
  assert.equal(JSON.parse(stdout || 'null')?.proof, 'stream-binding', `${vm}: ${stdout}${stderr}`);
  assert.ok(world.sshd(vm).accepted() > 0);
}
