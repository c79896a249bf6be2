/** A user's own ssh-agent, with one key. */
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type World, waitFor } from './world.ts';

export interface UsersAgent {
  readonly socket: string;
  /** The public key that it holds, as `ssh-ed25519 AAAA… comment`. */
  readonly line: string;
  readonly pid: number;
  stop(): Promise<void>;
}

/** @param name of the agent in this world, and the comment of its key */
export async function startUsersAgent(world: World, name = 'users'): Promise<UsersAgent> {
  const directory = join(world.directory, `agent-${name}`);
  mkdirSync(directory, { mode: 0o700 });
  const [socket, key] = [join(directory, 'sock'), join(directory, 'key')];
  const agent = world.start('ssh-agent', ['-D', '-a', socket], { timeout: 600_000 });
  await waitFor('ssh-agent', 15_000, () => existsSync(socket));
  for (const args of [
    ['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-C', `${name}-key`, '-f', key],
    ['ssh-add', '-q', key],
  ]) {
    const [program = '', ...rest] = args;
    const { status, stderr } = await world.run(program, rest, { env: { SSH_AUTH_SOCK: socket } });
    if (status !== 0) throw new Error(`${program}: ${stderr}`);
  }
  return {
    socket,
    line: readFileSync(`${key}.pub`, 'utf8').trim(),
    pid: agent.pid,
    async stop() {
      agent.kill('SIGTERM');
      await agent.done;
    },
  };
}
