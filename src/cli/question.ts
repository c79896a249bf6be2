/** Asks the user: on the terminal, else through the program in SSH_ASKPASS. All yes-no questions go through this file. */
import type { Answer, Question } from './answer.ts';
import { askpassUse, askThroughProgram } from './askpass.ts';
import { askOnTerminal } from './terminal-question.ts';

export type { Answer, Question } from './answer.ts';

/**
 * Asks the user a yes-no question. Only one of the question's words counts as a yes.
 *
 * The channel is chosen as OpenSSH does (readpass.c, read_passphrase): the terminal, unless
 * SSH_ASKPASS_REQUIRE says otherwise; SSH_ASKPASS without a terminal. A background job counts as having no terminal:
 * reading it would stop the job, and ssh with it.
 * @param environment has TERM, NO_COLOR, DISPLAY, WAYLAND_DISPLAY and SSH_ASKPASS…
 */
export async function ask(question: Question, environment = process.env): Promise<Answer> {
  const use = askpassUse(environment);
  if (use !== 'first') {
    const answer = await askOnTerminal(question, environment);
    if (answer !== 'cannot-ask' || use === 'never') return answer;
  }
  return askThroughProgram(question, environment);
}
