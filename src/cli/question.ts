/** The one place that asks: on the terminal, else through the program in SSH_ASKPASS. */
import type { Answer, Question } from './answer.ts';
import { askpassUse, askThroughProgram } from './askpass.ts';
import { askOnTerminal } from './terminal-question.ts';

export type { Answer, Question } from './answer.ts';

/**
 * Asks a person, and takes nothing for a yes but one of the words that mean it.
 *
 * The channel is chosen as OpenSSH does (readpass.c, read_passphrase): the terminal, unless
 * SSH_ASKPASS_REQUIRE says otherwise; SSH_ASKPASS where there is no terminal. For a background job there is
 * none: touching it would stop the job, and ssh with it.
 * @param environment whose TERM, NO_COLOR, DISPLAY, WAYLAND_DISPLAY and SSH_ASKPASS… count
 */
export async function ask(question: Question, environment = process.env): Promise<Answer> {
  const use = askpassUse(environment);
  if (use !== 'first') {
    const answer = await askOnTerminal(question, environment);
    if (answer !== 'nobody' || use === 'never') return answer;
  }
  return askThroughProgram(question, environment);
}
