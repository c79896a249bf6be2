/** Whoever sits in front of a proxy, as its connection reaches them. */
import type { AgentReply, Answer, QuestionText, SecretAnswer, SecretQuestion } from './control/protocol.ts';

export class Person {
  readonly #reply: (reply: AgentReply) => void;
  #answered: (answer: Answer) => void = () => {};
  #told: (secret: SecretAnswer) => void = () => {};
  #hasLeft = false;

  constructor(reply: (reply: AgentReply) => void) {
    this.#reply = reply;
  }

  /** A connection that has ended reaches nobody. */
  ask(question: QuestionText): Promise<Answer> {
    if (this.#hasLeft) return Promise.resolve('nobody');
    return new Promise((resolve) => {
      this.#answered = resolve;
      this.#reply({ type: 'question', question });
    });
  }

  /** Asks for something that is not shown while it is typed. */
  askSecret(question: SecretQuestion): Promise<SecretAnswer> {
    if (this.#hasLeft) return Promise.resolve('nobody');
    return new Promise((resolve) => {
      this.#told = resolve;
      this.#reply({ type: 'secret-question', question });
    });
  }

  answer(answer: Answer): void {
    this.#answered(answer);
  }

  tell(secret: SecretAnswer): void {
    this.#told(secret);
  }

  leave(): void {
    this.#hasLeft = true;
    this.#answered('nobody');
    this.#told('nobody');
  }
}
