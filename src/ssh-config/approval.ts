import { askOnTerminal } from '../cli/terminal-question.ts';
import { MintError } from '../errors.ts';

/**
 * Asks a yes/no question on the terminal, also where stdin is a pipe, and waits for the line; anything but a
 * yes is a no. Throws `usage` where there is no terminal to ask on.
 */
export async function askApproval(question: string): Promise<boolean> {
  const answer = await askOnTerminal({
    framed: '',
    prompt: `mint-ssh: ${question} (yes/no) `,
    accepts: ['yes'],
    seconds: Number.POSITIVE_INFINITY,
    attempts: 1,
  });
  if (answer === 'nobody') {
    throw new MintError('usage', 'there is no terminal to ask on, and nothing was changed', {
      hint: 'read what it would do above, then run it again with --yes',
    });
  }
  return answer === 'yes';
}
