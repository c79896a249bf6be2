/** One VM as the agent knows it: its keys, its live connections, and the socket that serves one of them. */
import type { Socket } from 'node:net';
import {
  AgentFrames,
  extensionFailureReply,
  failureReply,
  identitiesAnswer,
  parseAgentRequest,
  signResponse,
  successReply,
} from '../ssh/agent-messages.ts';
import { sessionBindName } from '../ssh/session-bind.ts';
import { parseUserauthRequest, type UserauthRequest } from '../ssh/userauth.ts';
import { boundConnection } from './binding.ts';
import { EphemeralKey, Pushes } from './credentials/ephemeral-key.ts';
import type { ForwardingConnection } from './forward.ts';
import type { Listener } from './listener.ts';
import type { Log } from './log.ts';
import { PendingConnections } from './pending-connections.ts';
import { SessionBinds } from './session-binds.ts';

/** What the VM's socket needs to know of one proxy's connection. */
export interface LiveConnection extends ForwardingConnection {
  clientBinds: boolean | undefined;
  readonly credential: {
    readonly isLoggingIn: boolean;
    readonly listed: readonly Buffer[];
    noteListed(): void;
    sign(
      request: UserauthRequest,
      data: Buffer,
      flags: number,
    ): Buffer | undefined | Promise<Buffer | undefined>;
  };
}

export class Vm {
  readonly name: string;
  /** The ephemeral one. */
  readonly key = new EphemeralKey();
  /** Those of the user's own keys (`identity`). */
  readonly ownKeyPushes = new Pushes();
  /** What EC2 calls the key of its instance, where that is one of ours and served. */
  keyName: string | undefined;
  readonly connections = new Set<LiveConnection>();
  readonly #log: Log;
  readonly #expected: (vm: Vm) => Buffer | undefined;
  readonly #pending = new PendingConnections({ limit: 128, timeoutMs: 60_000 });
  listener: Promise<Listener> | undefined;
  /** `require_binding`, as the last connection found it in the settings. */
  requiresBinding = false;

  /** @param expected the public key that the next connection will be served, as far as the settings tell */
  constructor(name: string, log: Log, expected: (vm: Vm) => Buffer | undefined) {
    this.name = name;
    this.#log = log;
    this.#expected = expected;
  }

  /** Serves the SSH agent protocol to one client. */
  serve(socket: Socket): void {
    this.#pending.add(socket);
    const frames = new AgentFrames();
    const binds = new SessionBinds();
    const answerAll = async (messages: readonly Buffer[]) => {
      for (const message of messages) {
        const answer = this.#answer(message, binds);
        // Answers go out in the order of their requests: while a person is asked nothing more is taken in.
        if (answer instanceof Promise) socket.pause();
        socket.write(answer instanceof Promise ? await answer : answer);
        this.#pending.accept(socket);
      }
      // A client that does not read its answers gets no more of them.
      if (socket.writableNeedDrain) {
        socket.pause();
        socket.once('drain', () => socket.resume());
      } else socket.resume();
    };
    socket.on('data', (chunk) => {
      try {
        // Malformed: this connection ends, and nothing else.
        answerAll(frames.push(chunk)).catch(() => socket.destroy());
      } catch {
        socket.destroy();
      }
    });
  }

  #answer(message: Buffer, binds: SessionBinds): Buffer | Promise<Buffer> {
    const request = parseAgentRequest(message);
    switch (request.type) {
      case 'request-identities':
        return this.#list(binds);
      case 'sign-request':
        return this.#sign(request, binds);
      case 'extension':
        return request.name === sessionBindName && binds.accept(request.contents)
          ? successReply()
          : extensionFailureReply();
      case 'unsupported':
        return failureReply();
    }
  }

  #list(binds: SessionBinds): Buffer {
    const hostKeys = [...this.connections].flatMap(({ host }) => host.exchange?.hostKey.blob ?? []);
    if (!binds.allowHost(hostKeys) || this.#lacksBinding(binds)) return identitiesAnswer([]);
    const served = this.#served;
    if (served.length === 0) return identitiesAnswer([]);
    for (const { credential } of this.connections) credential.noteListed();
    return identitiesAnswer(served.map((keyBlob) => ({ keyBlob, comment: `mint-ssh ${this.name}` })));
  }

  /**
   * What the connection that is being made offers, else what the one to come will. One key, or a managed key and its
   * fallback: sshd ends a login after a few that it does not accept.
   */
  get #served(): readonly Buffer[] {
    const loggingIn = [...this.connections].filter(({ credential }) => credential.isLoggingIn);
    const listed = loggingIn.at(-1)?.credential.listed ?? [];
    if (listed.length > 0) return listed;
    const expected = this.#expected(this);
    return expected === undefined ? [] : [expected];
  }

  #sign(
    { keyBlob, data, flags }: { readonly keyBlob: Buffer; readonly data: Buffer; readonly flags: number },
    binds: SessionBinds,
  ): Buffer | Promise<Buffer> {
    const request = parseUserauthRequest(data);
    if (request === undefined || !request.publicKey.equals(keyBlob)) {
      return this.#refuse('something that is no login');
    }
    if (!binds.allow(request)) return this.#refuse('a session that is not the one the client named');
    if (this.#lacksBinding(binds))
      return this.#refuse('a client that does not name its session (require_binding)');
    const bound = boundConnection(request, this.connections);
    if (bound === undefined) return this.#refuse('a session that runs through none of our connections');
    if (!binds.allowHost([bound.hostKey.blob])) return this.#refuse('a client bound to another host');
    const { connection } = bound;
    // One that has signed without is not believed later.
    connection.clientBinds = binds.isBound && connection.clientBinds !== false;
    const signature = connection.credential.sign(request, data, flags);
    const answer = (blob: Buffer | undefined) =>
      blob === undefined
        ? this.#refuse(`user ${request.user}, who is not let in with that key now`)
        : signResponse(blob);
    return signature instanceof Promise ? signature.then(answer) : answer(signature);
  }

  #lacksBinding(binds: SessionBinds): boolean {
    return this.requiresBinding && !binds.isBound;
  }

  #refuse(what: string): Buffer {
    this.#log(`${this.name}: refused to sign for ${what}`);
    return failureReply();
  }
}
