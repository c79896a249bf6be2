/**
 * One VM as the agent knows it: its keys, its live connections, and its socket, which speaks the ssh-agent protocol.
 *
 * The agent signs only for a session that runs through one of its own proxies. The key exchange reply that a proxy saw
 * holds the host key and the host's signature over the exchange hash. The hash of the first key exchange is the session
 * id (RFC 4253 §7.2), and every userauth request begins with the session id (RFC 4252 §7). So the agent can tell which
 * proxy's connection a request belongs to, and that the host there owns its key, with any client. A client may also
 * name its session (session-bind@openssh.com, OpenSSH's PROTOCOL.agent §1); the agent does not need that, but if the
 * client does, both must agree.
 */
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
import { parseHostKey, verifyHostSignature } from '../ssh/hostkey.ts';
import { parseSessionBind, sessionBindName } from '../ssh/session-bind.ts';
import { parseUserauthRequest, type UserauthRequest } from '../ssh/userauth.ts';
import type { Log } from './context.ts';
import { EphemeralKey, Pushes } from './credentials/ephemeral-key.ts';
import type { ForwardingConnection } from './forward.ts';
import { type Listener, PendingConnections } from './listener.ts';
import { findSession, type NamedSession } from './sessions.ts';

/** What the VM's socket needs to know about the connection of one proxy. */
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
  /** The ephemeral key. */
  readonly key = new EphemeralKey();
  /** The pushes of the user's own keys (`identity`). */
  readonly ownKeyPushes = new Pushes();
  /** The `KeyName` of the instance, if that is a managed key, which is then served. */
  keyName: string | undefined;
  readonly connections = new Set<LiveConnection>();
  readonly #log: Log;
  readonly #expected: (vm: Vm) => readonly Buffer[];
  readonly #pending = new PendingConnections({ limit: 128, timeoutMs: 60_000 });
  listener: Promise<Listener> | undefined;
  /** `require_binding` of the settings, as of the last connection. */
  requiresBinding = false;

  /** @param expected returns the public keys for the next connection, as far as the settings tell */
  constructor(name: string, log: Log, expected: (vm: Vm) => readonly Buffer[]) {
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
        // Answers go out in the order of the requests: nothing more is read while the user is asked.
        if (answer instanceof Promise) socket.pause();
        socket.write(answer instanceof Promise ? await answer : answer);
        this.#pending.accept(socket);
      }
      // Read nothing more from a client that does not read its answers.
      if (socket.writableNeedDrain) {
        socket.pause();
        socket.once('drain', () => socket.resume());
      } else socket.resume();
    };
    socket.on('data', (chunk) => {
      try {
        // A malformed message ends this connection only.
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
    // Several logins to the VM may be under way, and not all of them have the same keys: a rotation may be between two.
    const own = binds.named && findSession(binds.named, this.connections);
    const connections = own === undefined ? [...this.connections] : [own];
    const served = this.#served(connections);
    if (served.length === 0) return identitiesAnswer([]);
    for (const { credential } of connections) credential.noteListed();
    return identitiesAnswer(served.map((keyBlob) => ({ keyBlob, comment: `mint-ssh ${this.name}` })));
  }

  /**
   * The keys of the connection that is logging in, else those that the next one will use. That is one key, or a managed key
   * and what is offered after it: sshd ends a login after a few keys that it does not accept.
   */
  #served(connections: readonly LiveConnection[]): readonly Buffer[] {
    const loggingIn = connections.filter(({ credential }) => credential.isLoggingIn);
    const listed = loggingIn.at(-1)?.credential.listed ?? [];
    return listed.length > 0 ? listed : this.#expected(this);
  }

  #sign(
    { keyBlob, data, flags }: { readonly keyBlob: Buffer; readonly data: Buffer; readonly flags: number },
    binds: SessionBinds,
  ): Buffer | Promise<Buffer> {
    const request = parseUserauthRequest(data);
    if (request === undefined || !request.publicKey.equals(keyBlob)) {
      return this.#refuse('data that is not a login request');
    }
    if (!binds.allow(request)) return this.#refuse('another session than the one that the client named');
    if (this.#lacksBinding(binds))
      return this.#refuse('a client that does not name its session (require_binding)');
    const connection = findSession(request, this.connections);
    const hostKey = connection?.host.exchange?.hostKey.blob;
    if (connection === undefined || hostKey === undefined)
      return this.#refuse('a session that does not run through a connection of this agent');
    if (!binds.allowHost([hostKey])) return this.#refuse('a client bound to another host');
    // A client that has once signed without naming its session counts as one that does not name it.
    connection.clientBinds = binds.isBound && connection.clientBinds !== false;
    const signature = connection.credential.sign(request, data, flags);
    const answer = (blob: Buffer | undefined) =>
      blob === undefined
        ? this.#refuse(`user ${request.user}, who is not authorized with that key now`)
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

type BoundSession = NamedSession & { readonly hostKey: Buffer };

/** The session that one client of the VM's socket has named. */
class SessionBinds {
  #named: BoundSession | undefined;
  #isRefused = false;

  /**
   * @param contents of a session-bind@openssh.com extension
   * @returns false if it is not accepted; from then on nothing is signed for this client
   */
  accept(contents: Buffer): boolean {
    try {
      const { hostKey, sessionId, signature, isForwarding } = parseSessionBind(contents);
      // A client that binds for forwarding lends the socket to another machine. The VM's key must not be lent.
      if (isForwarding) throw new Error('bound for forwarding');
      if (this.#named !== undefined && !isSame(this.#named, { hostKey, sessionId }))
        throw new Error('bound to another session before');
      if (!verifyHostSignature(parseHostKey(hostKey), sessionId, signature))
        throw new Error('not signed by the host');
      this.#named = { hostKey, sessionId };
      return true;
    } catch {
      this.#isRefused = true;
      return false;
    }
  }

  /** The session that the client has named, with a valid signature of the host. */
  get named(): BoundSession | undefined {
    return this.#isRefused ? undefined : this.#named;
  }

  get isBound(): boolean {
    return this.named !== undefined;
  }

  /** Whether the client may see and use the key: not if it is bound to another host. */
  allowHost(hostKeys: Iterable<Buffer>): boolean {
    if (this.#isRefused) return false;
    const { hostKey } = this.#named ?? {};
    return hostKey === undefined || [...hostKeys].some((known) => known.equals(hostKey));
  }

  /** Whether a login is for the session that the client has named, if it has named one. */
  allow(request: UserauthRequest): boolean {
    if (this.#isRefused) return false;
    if (this.#named === undefined) return true;
    const { hostKey, sessionId } = this.#named;
    return (
      sessionId.equals(request.sessionId) &&
      (request.hostKey === undefined || hostKey.equals(request.hostKey))
    );
  }
}

function isSame(one: BoundSession, other: BoundSession): boolean {
  return one.hostKey.equals(other.hostKey) && one.sessionId.equals(other.sessionId);
}
