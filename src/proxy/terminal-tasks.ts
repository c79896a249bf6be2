/** What the agent has a proxy do in its terminal: ask the user, and start `mint-ssh credentials`. */
import { spawn } from 'node:child_process';
import type {
  AgentReply,
  AgentRequest,
  Answer,
  QuestionText,
  SecretAnswer,
  SecretQuestion,
} from '../agent/control/protocol.ts';
import { pauseProgress } from '../cli/progress.ts';
import { Interrupted } from '../errors.ts';
import type { Paths } from '../platform/paths.ts';
import { ownProcess } from '../platform/program.ts';

export class TerminalTasks {
  readonly #paths: Paths;
  readonly #send: (request: AgentRequest) => void;
  #question: { readonly withdraw: AbortController; readonly answer: Promise<Answer> } | undefined;
  #secretQuestion: AbortController | undefined;

  /** @param send sends to the agent that is connected then; does nothing while none is */
  constructor(paths: Paths, send: (request: AgentRequest) => void) {
    this.#paths = paths;
    this.#send = send;
  }

  /** The answer to the question that is open; undefined if none is. */
  get answer(): Promise<Answer> | undefined {
    return this.#question?.answer;
  }

  /** Asks the user. The answer goes only to the agent that asked. */
  ask(question: QuestionText): void {
    const withdraw = new AbortController();
    const asked = askUser(question, withdraw.signal).catch((): Answer => 'cannot-ask');
    const answer = asked.then((said) => {
      if (this.#question?.withdraw !== withdraw) return said;
      this.#send({ type: 'answer', answer: said });
      this.#question = undefined;
      return said;
    });
    this.#question = { withdraw, answer };
  }

  /** Asks the user for a secret. The answer goes only to the agent that asked. */
  async askSecret(question: SecretQuestion): Promise<void> {
    const withdraw = new AbortController();
    this.#secretQuestion = withdraw;
    const answer = await askUserSecret(question, withdraw.signal).catch(
      (error): SecretAnswer => (error instanceof Interrupted ? 'no' : 'cannot-ask'),
    );
    if (this.#secretQuestion === withdraw) this.#send({ type: 'secret', answer });
    if (typeof answer !== 'string') answer.secret.fill(0);
  }

  /**
   * Starts `mint-ssh credentials` in this proxy's environment, working directory and terminal. It outlives the proxy:
   * what it resolves late serves the next login. It gets neither stdin nor stdout, which carry the SSH stream.
   */
  startCredentials({ id, profile, region }: Extract<AgentReply, { type: 'resolve-credentials' }>): void {
    const options = [
      ...['--config-dir', this.#paths.dir, '--id', id],
      ...(profile === undefined ? [] : ['--profile', profile]),
      ...(region === undefined ? [] : ['--region', region]),
    ];
    const { file, words } = ownProcess(['credentials', ...options], { keepsEnvironment: true });
    // It may ask for an MFA code, and says itself what it waits for.
    const resume = pauseProgress();
    const child = spawn(file, words, {
      stdio: ['ignore', 'ignore', 'inherit'],
      windowsHide: true,
    });
    const ended = () => {
      resume();
      this.#send({ type: 'credentials-ended', id });
    };
    child.once('error', ended).once('exit', ended);
    child.unref();
  }

  /** The agent that asked has ended; the next one asks again. */
  withdraw(): void {
    this.close();
    this.#secretQuestion = undefined;
    this.#question?.withdraw.abort();
    this.#question = undefined;
  }

  /** Withdraws a question for a secret. */
  close(): void {
    this.#secretQuestion?.abort();
  }
}

/** Loads the code that asks only when there is a question. */
async function askUser(question: QuestionText, signal: AbortSignal): Promise<Answer> {
  const { ask } = await import('../cli/question.ts');
  return ask({ ...question, signal });
}

async function askUserSecret(
  { prompt, seconds }: SecretQuestion,
  signal: AbortSignal,
): Promise<SecretAnswer> {
  const { askSecret } = await import('../cli/secret.ts');
  const answer = await askSecret(prompt, process.env, { seconds, signal });
  return typeof answer === 'string' ? answer : { secret: Buffer.from(answer.text) };
}
