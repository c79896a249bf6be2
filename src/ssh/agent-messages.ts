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

/** The limit of OpenSSH's agent for a message, in bytes. */
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
 * Splits a byte stream into messages, without their length fields. It keeps a copy of an incomplete message: at most
 * the limit, and at most twice as many bytes as have arrived, regardless of the announced length.
 */
export class AgentFrames {
  #held = Buffer.alloc(0);
  #filled = 0;

  /** Whether part of a message has arrived and the rest has not. */
  get midMessage(): boolean {
    return this.#filled > 0;
  }

  /**
   * @param chunk the next bytes of the stream
   * @returns the messages that it completes
   * @throws MintError `not-ssh` for a length of 0 or over 256 KiB; the caller then closes the connection
   */
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

  /** Takes from `bytes` until `size` bytes are held, and returns the rest. */
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
 * Reads one message.
 *
 * @param message as `AgentFrames.push` returned it
 * @returns the request; `unsupported` for a message number that this agent does not serve, which the protocol answers
 *   with a failure reply
 * @throws MintError `not-ssh` if a known request is malformed or has trailing bytes
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

/** @returns SSH_AGENT_FAILURE as a whole message, with its length field */
export function failureReply(): Buffer {
  return reply(SSH_AGENT_FAILURE);
}

/** @returns SSH_AGENT_SUCCESS as a whole message, with its length field */
export function successReply(): Buffer {
  return reply(SSH_AGENT_SUCCESS);
}

/** @returns SSH_AGENT_EXTENSION_FAILURE: the extension is known, but its contents were not accepted */
export function extensionFailureReply(): Buffer {
  return reply(SSH_AGENT_EXTENSION_FAILURE);
}

/** @returns SSH_AGENT_IDENTITIES_ANSWER as a whole message, with the keys in this order */
export function identitiesAnswer(identities: readonly Identity[]): Buffer {
  const entries = identities.flatMap(({ keyBlob, comment }) => [
    encodeString(keyBlob),
    encodeString(comment),
  ]);
  return reply(SSH_AGENT_IDENTITIES_ANSWER, encodeUint32(identities.length), ...entries);
}

/** @param signature a signature blob, as `signatureFor` returns it */
export function signResponse(signature: Buffer): Buffer {
  return reply(SSH_AGENT_SIGN_RESPONSE, encodeString(signature));
}

function reply(number: number, ...fields: Buffer[]): Buffer {
  return encodeString(Buffer.concat([encodeByte(number), ...fields]));
}
