/** One VM as the agent knows it: its key, its live connections, and the socket that serves the key. */
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
import { signatureBlob } from '../ssh/ed25519.ts';
import { sessionBindName } from '../ssh/session-bind.ts';
import { parseUserauthRequest } from '../ssh/userauth.ts';
import { boundConnection } from './binding.ts';
import type { Connection } from './connection.ts';
import { Crowd } from './crowd.ts';
import type { Listener } from './listener.ts';
import type { Log } from './log.ts';
import { SessionBinds } from './session-binds.ts';
import { VmKey } from './vm-key.ts';

export class Vm {
  readonly name: string;
  readonly key = new VmKey();
  readonly connections = new Set<Connection>();
  readonly #log: Log;
  readonly #crowd = new Crowd({ limit: 128, patience: 60_000 });
  listener: Promise<Listener> | undefined;
  /** `require_binding`, as the last connection found it in the settings. */
  requiresBinding = false;

  constructor(name: string, log: Log) {
    this.name = name;
    this.#log = log;
  }

  /** Serves the SSH agent protocol to one client. */
  serve(socket: Socket): void {
    this.#crowd.join(socket);
    const frames = new AgentFrames();
    const binds = new SessionBinds();
    socket.on('data', (chunk) => {
      try {
        for (const message of frames.push(chunk)) {
          socket.write(this.#answer(message, binds));
          this.#crowd.admit(socket);
        }
        // A client that does not read its answers gets no more of them.
        if (socket.writableNeedDrain) {
          socket.pause();
          socket.once('drain', () => socket.resume());
        }
      } catch {
        // Malformed: this connection ends, and nothing else.
        socket.destroy();
      }
    });
  }

  #answer(message: Buffer, binds: SessionBinds): Buffer {
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
    const hostKeys = [...this.connections].flatMap(({ seen }) => seen?.hostKey.blob ?? []);
    if (!binds.allowHost(hostKeys) || this.#lacksBinding(binds)) return identitiesAnswer([]);
    for (const connection of this.connections) connection.noteListed();
    return identitiesAnswer([{ keyBlob: this.key.list().blob, comment: `mint-ssh ${this.name}` }]);
  }

  #sign({ keyBlob, data }: { readonly keyBlob: Buffer; readonly data: Buffer }, binds: SessionBinds): Buffer {
    const pair = this.key.current;
    const request = parseUserauthRequest(data);
    if (pair === undefined || !keyBlob.equals(pair.blob)) return this.#refuse('a key that is not the VM’s');
    if (request === undefined || !request.publicKey.equals(pair.blob)) {
      return this.#refuse('something that is no login');
    }
    if (!binds.allow(request)) return this.#refuse('a session that is not the one the client named');
    if (this.#lacksBinding(binds))
      return this.#refuse('a client that does not name its session (require_binding)');
    const connection = boundConnection(request, this.connections);
    if (connection === undefined) return this.#refuse('a session that runs through none of our connections');
    if (!binds.allowHost([connection.seen.hostKey.blob]))
      return this.#refuse('a client bound to another host');
    if (!connection.mayLogIn(request.user)) return this.#refuse(`user ${request.user}, who has no live push`);
    connection.noteSigned();
    return signResponse(signatureBlob(pair.privateKey, data));
  }

  #lacksBinding(binds: SessionBinds): boolean {
    return this.requiresBinding && !binds.isBound;
  }

  #refuse(what: string): Buffer {
    this.#log(`${this.name}: refused to sign for ${what}`);
    return failureReply();
  }
}
