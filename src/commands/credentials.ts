/**
 * `mint-ssh credentials` (hidden): resolves AWS credentials in the environment of the user's shell and passes them to the
 * agent. The proxy starts it when the agent has no fresh credentials.
 */
import { connectControl } from '../agent/control/client.ts';
import { type AgentRequest, failureReply } from '../agent/control/protocol.ts';
import { resolveCredentials } from '../aws/credentials.ts';
import { terminalInteraction } from '../aws/own-credentials.ts';
import type { Command, Invocation } from '../cli/command.ts';
import { Interrupted, MintError } from '../errors.ts';
import { resolvePaths } from '../platform/paths.ts';

export const command: Command = {
  usage: 'credentials',
  help: 'Resolves AWS credentials for the agent. A login starts this by itself.',
  options: { id: { type: 'string', hidden: true } },
  run,
};

/** A later result is of no use: the login that waited for it has failed. */
const limitMs = 10 * 60_000;
/** What the agent is told if the user pressed Ctrl-C at the prompt. */
const noCode = new MintError('aws-credentials', 'no MFA code was entered');
/** How often this process checks whether the proxy that started it is still running. */
const parentPollMs = 500;

async function run({ values, globals }: Invocation): Promise<number> {
  const id = values['id'] as string | undefined;
  if (id === undefined) throw new MintError('usage', 'the agent starts this command itself');
  const { profile, region, configDir } = globals;
  const { promise: received, resolve } = Promise.withResolvers<void>();
  const send = (request: AgentRequest) => connection?.send(request);
  const resolveAndSend = async () => {
    const tell = (line: string) => send({ type: 'credentials-progress', line });
    try {
      const credentials = await resolveCredentials(
        { profile, region },
        terminalInteraction(tell, signalOfParent()),
      );
      send({ type: 'credentials', credentials, failure: undefined });
    } catch (error) {
      const reason = error instanceof Interrupted ? noCode : error;
      send({ type: 'credentials', credentials: undefined, failure: failureReply(reason) });
    }
  };
  const connection = await connectControl(resolvePaths({ configDir }), {
    received: ({ type }) => {
      if (type === 'credentials-wanted') void resolveAndSend();
      // An error means that no login waits for the result.
      else if (type === 'credentials-received' || type === 'error') resolve();
    },
    lost: resolve,
  });
  if (connection === undefined) return 1;
  connection.send({ type: 'credentials-begin', id });
  const limit = setTimeout(resolve, limitMs);
  await received;
  clearTimeout(limit);
  connection.close();
  return 0;
}

/** A signal that is aborted when the proxy has ended, so that a prompt does not stay on its terminal. */
function signalOfParent(): AbortSignal {
  const parent = process.ppid;
  const ended = new AbortController();
  const poll = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(poll);
    ended.abort();
  }, parentPollMs).unref();
  return ended.signal;
}
