/** The question about a changed host key: one for each VM at a time, however many connections wait for it. */
import type { Answer, QuestionText, SecretAnswer, SecretQuestion } from './control/protocol.ts';

/** A connection that may reach a person. Resolves to `nobody` where it does not, or ended. */
export type AskPerson = (question: QuestionText) => Promise<Answer>;

/** The same for what is typed without an echo. */
export type AskSecret = (question: SecretQuestion) => Promise<SecretAnswer>;

export type Settled = 'accepted' | 'refused' | 'unanswered' | 'nobody';

interface Standing {
  readonly fingerprint: string;
  readonly waiting: AskPerson[];
  readonly result: Promise<Settled>;
}

export class Questions {
  readonly #standing = new Map<string, Standing>();

  /**
   * Settles whether a key is to be trusted. The first connection that reaches a person asks; the others get
   * the same answer. Another key for the same VM in the meantime is refused without a question.
   *
   * @param settle decides without a person where it can, else asks through `ask`
   */
  settle(
    vm: string,
    fingerprint: string,
    person: AskPerson,
    settle: (ask: AskPerson) => Promise<Settled>,
  ): Promise<Settled> {
    const standing = this.#standing.get(vm);
    if (standing !== undefined) {
      if (standing.fingerprint !== fingerprint) return Promise.resolve('refused');
      standing.waiting.push(person);
      return standing.result;
    }
    const waiting = [person];
    const result = settle((question) => askFirst(waiting, question)).finally(() => this.#standing.delete(vm));
    this.#standing.set(vm, { fingerprint, waiting, result });
    return result;
  }
}

async function askFirst(waiting: AskPerson[], question: QuestionText): Promise<Answer> {
  for (let person = waiting.shift(); person !== undefined; person = waiting.shift()) {
    const answer = await person(question);
    if (answer !== 'nobody') return answer;
  }
  return 'nobody';
}
