/** Whoever sits in front of this proxy, and what the agent has asked them. */
import type {
  AgentRequest,
  Answer,
  QuestionText,
  SecretAnswer,
  SecretQuestion,
} from '../agent/control/protocol.ts';

/** Puts the agent's questions to the person. */
export interface Asker {
  ask(question: QuestionText, signal: AbortSignal): Promise<Answer>;
  /** For what is typed without an echo. */
  askSecret(question: SecretQuestion, signal: AbortSignal): Promise<SecretAnswer>;
}

/** An answer goes to the agent that asked, and to no other one. */
export class Person {
  readonly #asker: Asker;
  readonly #send: (request: AgentRequest) => void;
  #question: { readonly withdraw: AbortController; readonly answer: Promise<Answer> } | undefined;
  #secret: AbortController | undefined;

  constructor(asker: Asker, send: (request: AgentRequest) => void) {
    this.#asker = asker;
    this.#send = send;
  }

  /** Undefined where no question stands. */
  get answer(): Promise<Answer> | undefined {
    return this.#question?.answer;
  }

  put(text: QuestionText): void {
    const withdraw = new AbortController();
    const answer = this.#asker.ask(text, withdraw.signal).catch((): Answer => 'nobody');
    const told = answer.then((said) => {
      if (this.#question?.withdraw !== withdraw) return said;
      this.#send({ type: 'answer', answer: said });
      this.#question = undefined;
      return said;
    });
    this.#question = { withdraw, answer: told };
  }

  async putSecret(question: SecretQuestion): Promise<void> {
    const withdraw = new AbortController();
    this.#secret = withdraw;
    const answer = await this.#asker.askSecret(question, withdraw.signal).catch((): SecretAnswer => 'nobody');
    if (this.#secret === withdraw) this.#send({ type: 'secret', answer });
    if (typeof answer !== 'string') answer.secret.fill(0);
  }

  /** The agent that asked has ended: a new one asks anew. */
  withdrawAll(): void {
    this.withdrawSecret();
    this.#secret = undefined;
    this.#question?.withdraw.abort();
    this.#question = undefined;
  }

  /** The connection has ended: whether a changed key is accepted still counts, a secret serves nobody any more. */
  withdrawSecret(): void {
    this.#secret?.abort();
  }
}
