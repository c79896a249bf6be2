/** Questions to the user: through the proxy of one connection, or shared by all connections that wait for the answer. */
import type { AgentReply, Answer, QuestionText, SecretAnswer, SecretQuestion } from './control/protocol.ts';

/** Asks through one connection. Resolves to `cannot-ask` if that has no terminal or askpass program, or has ended. */
export type AskUser = (question: QuestionText) => Promise<Answer>;

/** Asks for a secret, which is not echoed. Resolves to `cannot-ask` as `AskUser` does. */
export type AskSecret = (question: SecretQuestion) => Promise<SecretAnswer>;

/** The questions that the agent puts through one proxy. */
export class ConnectionPrompt {
  readonly #reply: (reply: AgentReply) => void;
  #onAnswer: (answer: Answer) => void = () => {};
  #onSecret: (secret: SecretAnswer) => void = () => {};
  #isClosed = false;

  /** @param reply sends a message to the proxy */
  constructor(reply: (reply: AgentReply) => void) {
    this.#reply = reply;
  }

  readonly ask: AskUser = (question) => {
    if (this.#isClosed) return Promise.resolve('cannot-ask');
    return new Promise((resolve) => {
      this.#onAnswer = resolve;
      this.#reply({ type: 'question', question });
    });
  };

  readonly askSecret: AskSecret = (question) => {
    if (this.#isClosed) return Promise.resolve('cannot-ask');
    return new Promise((resolve) => {
      this.#onSecret = resolve;
      this.#reply({ type: 'secret-question', question });
    });
  };

  /** The proxy has sent the answer to a question. */
  answer(answer: Answer): void {
    this.#onAnswer(answer);
  }

  /** The proxy has sent the answer to a question for a secret. */
  answerSecret(secret: SecretAnswer): void {
    this.#onSecret(secret);
  }

  /** The connection has ended: open questions get the answer `cannot-ask`. */
  close(): void {
    this.#isClosed = true;
    this.#onAnswer('cannot-ask');
    this.#onSecret('cannot-ask');
  }
}

export type Decision = 'accepted' | 'refused' | 'unanswered' | 'cannot-ask';

interface OpenQuestion {
  readonly subject: string;
  readonly waiting: AskUser[];
  readonly result: Promise<Decision>;
}

/** One question for each VM at a time, however many connections wait for its answer. */
export class SharedPrompt {
  readonly #open = new Map<string, OpenQuestion>();

  /**
   * The first connection that reaches the user asks; the others get the same answer.
   * @param subject what the question is about, as a fingerprint or an instance. A question about another subject of
   *   the same VM is refused while this one is open.
   * @param ask asks through the connection that needs the answer
   * @param decide decides without the user if it can, else through the function it is given
   */
  decide(
    vm: string,
    subject: string,
    ask: AskUser,
    decide: (ask: AskUser) => Promise<Decision>,
  ): Promise<Decision> {
    const open = this.#open.get(vm);
    if (open !== undefined) {
      if (open.subject !== subject) return Promise.resolve('refused');
      open.waiting.push(ask);
      return open.result;
    }
    const waiting = [ask];
    const result = decide((question) => askFirst(waiting, question)).finally(() => this.#open.delete(vm));
    this.#open.set(vm, { subject, waiting, result });
    return result;
  }
}

/** Asks through each connection in turn until one reaches the user. */
async function askFirst(waiting: AskUser[], question: QuestionText): Promise<Answer> {
  for (let ask = waiting.shift(); ask !== undefined; ask = waiting.shift()) {
    const answer = await ask(question);
    if (answer !== 'cannot-ask') return answer;
  }
  return 'cannot-ask';
}
