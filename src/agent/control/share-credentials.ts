/** Passes the credentials that a command has resolved on to the agent, for the logins that follow. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Credentials } from '../../aws/requests.ts';
import { thisCaller } from '../../platform/caller.ts';
import type { Paths } from '../../platform/paths.ts';
import { connectControl, connectOrStart } from './client.ts';

/** How long a command waits for the agent to take them. Without them a login resolves its own. */
const limitMs = 2_000;

/**
 * @param explicit the profile that they were resolved for
 * @param start starts an agent if none runs; else nothing happens then
 * @returns when the agent has them, or cannot take them
 */
export async function shareCredentials(
  paths: Paths,
  credentials: Credentials,
  explicit: string | undefined,
  start: boolean,
): Promise<void> {
  const { promise: answered, resolve } = Promise.withResolvers<void>();
  const connect = start ? connectOrStart : connectControl;
  try {
    const connection = await connect(paths, { received: () => resolve(), lost: resolve });
    if (connection === undefined) return;
    const { environment, session } = thisCaller();
    connection.send({ type: 'share-credentials', credentials, profile: explicit, environment, session });
    await Promise.race([answered, sleep(limitMs, undefined, { ref: false })]);
    connection.close();
  } catch {
    // The login itself reports what is wrong with the agent.
  }
}
