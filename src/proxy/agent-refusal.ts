import type { FailureReply } from '../agent/control/protocol.ts';
import { MintError } from '../errors.ts';

/** An error that the agent has sent, with a warning to show before it. */
export class AgentRefusal extends MintError {
  readonly warning: string | undefined;

  constructor({ code, message, hint, unsafe, warning }: FailureReply) {
    super(code, message, { hint, unsafe });
    this.warning = warning;
  }
}
