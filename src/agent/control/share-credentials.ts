/** Passes the credentials that a command has resolved on to the agent, for the logins that follow. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Resolved } from '../../aws/resolved.ts';
import { thisCaller } from '../../platform/caller.ts';
import type { Paths } from '../../platform/paths.ts';
import { connectControl, connectOrStart } from './client.ts';

/** How long a command waits for the agent to take them. Without them a login resolves its own. */
const limitMs = 5_000;

/**
 * @param resolved the credentials, and what they were resolved for
 * @param start starts an agent if none runs; else nothing happens then
 * @returns when the agent has them, or cannot take them
 */
export async function shareCredentials(paths: Paths, resolved: Resolved, start: boolean): Promise<void> {
  // The login itself reports what is wrong with the agent.
  const sent = send(paths, resolved, start ? connectOrStart : connectControl).catch(() => {});
  await Promise.race([sent, sleep(limitMs, undefined, { ref: false })]);
}

async function send(
  paths: Paths,
  { credentials, explicit, stamp }: Resolved,
  connect: typeof connectControl,
): Promise<void> {
  const { promise: answered, resolve } = Promise.withResolvers<void>();
  const connection = await connect(paths, { received: () => resolve(), lost: resolve });
  if (connection === undefined) return;
  const { environment, session } = thisCaller();
  const type = 'share-credentials';
  connection.send({ type, credentials, profile: explicit, stamp, environment, session });
  await answered;
  connection.close();
}
