import assert from 'node:assert/strict';
import { type World, waitFor } from '../openssh/world.ts';

/**
 * The client logged in with a signature of the agent's, which the agent makes only for a session that it has verified
 * itself; and the host key is pinned.
 */
export async function assertBound(world: World, vm: string): Promise<void> {
  const { stdout, stderr } = await world.mint('hosts', 'show', vm, '--json');
  assert.equal(JSON.parse(stdout || 'null')?.evidence, 'first-use', `${vm}: ${stdout}${stderr}`);
  await waitFor('the login in audit.log', 15_000, () =>
    (world.file('audit.log') ?? '')
      .split('\n')
      .some((line) => line.includes('"event":"login"') && line.includes(`"vm_name":"${vm}"`)),
  );
  assert.ok(world.sshd(vm).accepted() > 0);
}
