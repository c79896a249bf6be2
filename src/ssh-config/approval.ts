import { askOnTerminal } from '../cli/terminal-question.ts';
import { MintError } from '../errors.ts';

/**
 * Asks a yes/no question on the terminal, even if stdin is a pipe.
 *
 * @returns whether the user answered yes
 * @throws MintError `usage` if there is no terminal
 */
export async function askApproval(question: string): Promise<boolean> {
  const answer = await askOnTerminal({
    framed: '',
    prompt: `mint-ssh: ${question} (yes/no) `,
    accepts: ['yes'],
    seconds: Number.POSITIVE_INFINITY,
    attempts: 1,
  });
  if (answer === 'cannot-ask') {
    throw new MintError('usage', 'there is no terminal for the question, and nothing was changed', {
      hint: 'check the changes above, then run the command again with --yes',
    });
  }
  return answer === 'yes';
}
