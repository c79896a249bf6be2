/** After the pipe: what a person should hear of how it ended. */
import { say } from '../cli/terminal.ts';
import { MintError } from '../errors.ts';
import type { AgentLink } from './agent-link.ts';
import { AgentRefusal } from './agent-refusal.ts';
import type { BridgeResult } from './bridge.ts';

/** How long a proxy that is done waits for the agent's last answer, in milliseconds. */
const lastAnswerLimit = 500;

/**
 * @returns the exit status
 * @throws MintError `login-refused` where the VM did not want the key that was pushed; what the agent refused with
 */
export async function reportEnd(result: BridgeResult, vm: string, agent: AgentLink): Promise<number> {
  if (result.early) {
    // What the agent has said itself, while the client was logging in, is why: a pin that could not be written, say.
    const answer = await Promise.race([agent.refusal, agent.wasRefused(), noAnswer()]).catch(
      (error: unknown) => {
        if (error instanceof AgentRefusal) throw error;
      },
    );
    if (answer?.words !== undefined) {
      const { code, message, hint } = answer.words;
      throw new MintError(code, message, { hint });
    }
    if (agent.hasLostAgent) {
      throw new MintError('agent-unavailable', `the agent ended in the middle of the login to ${vm}`, {
        hint: 'connect again: the next agent has another key',
      });
    }
  }
  const code = (result.failure as NodeJS.ErrnoException | undefined)?.code;
  // EPIPE: the client is gone, as it is after every Ctrl-C. No news to anyone.
  if (result.failure === undefined || code === 'EPIPE') return 0;
  if (code === 'ECONNRESET' || code === 'ETIMEDOUT') {
    say(`the connection to ${vm} broke: ${code === 'ETIMEDOUT' ? 'it stopped answering' : 'it was reset'}`);
    return 1;
  }
  if (result.failure instanceof MintError) throw result.failure;
  throw new MintError('io-failed', `the connection to ${vm} broke: ${code ?? result.failure.message}`, {
    cause: result.failure,
  });
}

function noAnswer(): Promise<undefined> {
  return new Promise((resolve) => setTimeout(resolve, lastAnswerLimit, undefined));
}
