/** After the pipe: what a person should hear of how it ended. */
import { say } from '../cli/terminal.ts';
import { MintError } from '../errors.ts';
import type { AgentLink } from './agent-link.ts';
import type { BridgeResult } from './bridge.ts';

/** How long a proxy that is done waits for the agent's last answer, in milliseconds. */
const lastAnswerLimit = 500;

/**
 * @returns the exit status
 * @throws MintError `login-refused` where the VM did not want the key that was pushed
 */
export async function reportEnd(result: BridgeResult, vm: string, agent: AgentLink): Promise<number> {
  if (result.early) {
    const answer = await Promise.race([agent.wasRefused(), noAnswer()]).catch(() => undefined);
    if (answer?.listed === true && !answer.signed) throw refused(vm, answer.user);
  }
  const code = (result.failure as NodeJS.ErrnoException | undefined)?.code;
  // EPIPE: the client is gone, as it is after every Ctrl-C. No news to anyone.
  if (result.failure === undefined || code === 'EPIPE') return 0;
  if (code === 'ECONNRESET' || code === 'ETIMEDOUT') {
    say(`the connection to ${vm} broke: ${code === 'ETIMEDOUT' ? 'it stopped answering' : 'it was reset'}`);
    return 1;
  }
  throw new MintError('io-failed', `the connection to ${vm} broke: ${code ?? result.failure.message}`, {
    cause: result.failure,
  });
}

function noAnswer(): Promise<undefined> {
  return new Promise((resolve) => setTimeout(resolve, lastAnswerLimit, undefined));
}

function refused(vm: string, user: string): MintError {
  return new MintError('login-refused', `${vm} does not accept the pushed key for user ${user}`, {
    hint:
      `is there a user ${user} on it, and is ec2-instance-connect installed? ` +
      '`user` in ssh.toml names another user; AWS answers a push with success in either case',
  });
}
