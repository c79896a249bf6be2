/** The SSH agent protocol (draft-ietf-sshm-ssh-agent): requests in, replies out. */
import { unpredicted } from './refusal.ts';
import { encodeByte, encodeString, encodeUint32, WireReader } from './wire.ts';

const SSH_AGENT_FAILURE = 5;
const SSH_AGENT_SUCCESS = 6;
const SSH_AGENTC_REQUEST_IDENTITIES = 11;
const SSH_AGENT_IDENTITIES_ANSWER = 12;
const SSH_AGENTC_SIGN_REQUEST = 13;
const SSH_AGENT_SIGN_RESPONSE = 14;
const SSH_AGENTC_EXTENSION = 27;
const SSH_AGENT_EXTENSION_FAILURE = 28;

/** OpenSSH's own limit for a message, in bytes. */
const messageLimit = 256 * 1024;

export type AgentRequest =
  | { readonly type: 'request-identities' }
  | { readonly type: 'sign-request'; readonly keyBlob: Buffer; readonly data: Buffer; readonly flags: number }
  | { readonly type: 'extension'; readonly name: string; readonly contents: Buffer }
  | { readonly type: 'unsupported'; readonly number: number };

export interface Identity {
  readonly keyBlob: Buffer;
  readonly comment: string;
}

/**
 * Cuts a byte stream into messages, without their length. It keeps a copy of an incomplete message, never
 * more than the limit, and allocates no more than has arrived twice over, whatever a length promises.
 */
export class AgentFrames {
  #held = Buffer.alloc(0);
  #filled = 0;

  /** Whether a message has begun and not ended. */
  get midMessage(): boolean {
    return this.#filled > 0;
  }

  /** @throws MintError `not-ssh` for a length of 0 or over 256 KiB: the connection is to be closed */
  push(chunk: Buffer): Buffer[] {
    const messages: Buffer[] = [];
    let rest = chunk;
    while (rest.length > 0) {
      if (this.#filled < 4) rest = this.#fill(rest, 4);
      if (this.#filled < 4) break;
      const size = 4 + this.#length();
      rest = this.#fill(rest, size);
      if (this.#filled < size) break;
      messages.push(this.#held.subarray(4, size));
      this.#held = Buffer.alloc(0);
      this.#filled = 0;
    }
    return messages;
  }

  #length(): number {
    const length = this.#held.readUInt32BE(0);
    if (length === 0) throw unpredicted('an agent message is empty');
    if (length > messageLimit) throw unpredicted(`an agent message has ${length} bytes`);
    return length;
  }

  /** Takes from `bytes` until `size` are held, and gives back what is left of them. */
  #fill(bytes: Buffer, size: number): Buffer {
    const taken = Math.min(bytes.length, size - this.#filled);
    const needed = this.#filled + taken;
    if (needed > this.#held.length) {
      const larger = Buffer.alloc(Math.max(needed, Math.min(size, this.#held.length * 2)));
      this.#held.copy(larger, 0, 0, this.#filled);
      this.#held = larger;
    }
    bytes.copy(this.#held, this.#filled, 0, taken);
    this.#filled = needed;
    return bytes.subarray(taken);
  }
}

/**
 * Reads one message as AgentFrames gives it. Numbers we do not serve are `unsupported`, for which the
 * protocol wants a failure reply.
 *
 * @throws MintError `not-ssh` when a known request is malformed or has bytes behind its end
 */
export function parseAgentRequest(message: Buffer): AgentRequest {
  const reader = new WireReader(message);
  const number = reader.byte();
  switch (number) {
    case SSH_AGENTC_REQUEST_IDENTITIES:
      reader.end();
      return { type: 'request-identities' };
    case SSH_AGENTC_SIGN_REQUEST: {
      const keyBlob = reader.string();
      const data = reader.string();
      const flags = reader.uint32();
      reader.end();
      return { type: 'sign-request', keyBlob, data, flags };
    }
    case SSH_AGENTC_EXTENSION:
      return { type: 'extension', name: reader.text(), contents: reader.rest() };
    default:
      return { type: 'unsupported', number };
  }
}

/** Each reply is a whole message with its length, ready to be written. */
export function failureReply(): Buffer {
  return reply(SSH_AGENT_FAILURE);
}

export function successReply(): Buffer {
  return reply(SSH_AGENT_SUCCESS);
}

/** Says that an extension is known and its contents were not accepted. */
export function extensionFailureReply(): Buffer {
  return reply(SSH_AGENT_EXTENSION_FAILURE);
}

export function identitiesAnswer(identities: readonly Identity[]): Buffer {
  const entries = identities.flatMap(({ keyBlob, comment }) => [
    encodeString(keyBlob),
    encodeString(comment),
  ]);
  return reply(SSH_AGENT_IDENTITIES_ANSWER, encodeUint32(identities.length), ...entries);
}

/** Takes a signature blob such as signatureFor gives. */
export function signResponse(signature: Buffer): Buffer {
  return reply(SSH_AGENT_SIGN_RESPONSE, encodeString(signature));
}

function reply(number: number, ...fields: Buffer[]): Buffer {
  return encodeString(Buffer.concat([encodeByte(number), ...fields]));
}
