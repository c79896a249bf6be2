/** `run/control.sock`: where proxies announce themselves, and people ask for status and stop. */
import type { Socket } from 'node:net';
import { vmPaths } from '../config/paths.ts';
import { loadSettings } from '../config/settings.ts';
import { vmName } from '../config/vm-name.ts';
import { MintError } from '../errors.ts';
import { Connection } from './connection.ts';
import {
  type AgentReply,
  type AgentRequest,
  type AgentStatus,
  encodeLine,
  failureReply,
  lineSplitter,
  type OpenRequest,
  parseRequest,
  protocolVersion,
} from './control-protocol.ts';
import { Crowd } from './crowd.ts';
import type { Forward } from './forward.ts';
import type { Services } from './services.ts';
import type { Vms } from './vms.ts';

export interface ControlHooks {
  readonly vms: Vms;
  readonly forward: Forward;
  readonly status: () => AgentStatus;
  readonly stop: () => void;
  /** A proxy came or went. */
  readonly changed: () => void;
}

export class ControlServer {
  readonly #services: Services;
  readonly #hooks: ControlHooks;
  readonly #crowd = new Crowd({ limit: 128, patience: 10_000 });
  readonly #proxies = new Map<Socket, Connection>();

  constructor(services: Services, hooks: ControlHooks) {
    this.#services = services;
    this.#hooks = hooks;
  }

  get connections(): number {
    return this.#proxies.size;
  }

  /** Tells every proxy that this agent goes because someone wants it to. */
  sayStopping(): void {
    for (const socket of this.#proxies.keys()) socket.write(encodeLine({ type: 'stopping' }));
  }

  serve(socket: Socket): void {
    this.#crowd.join(socket);
    const reply = (message: AgentReply) => {
      if (socket.writable) socket.write(encodeLine(message));
    };
    const split = lineSplitter((message) => {
      const request = parseRequest(message);
      // Whoever asks for status or stop is answered, and need not stay.
      if (request.type === 'open') this.#crowd.admit(socket);
      this.#handle(socket, request, reply).catch((error: unknown) => reply(failureReply(error)));
    });
    socket.on('data', (chunk) => {
      try {
        split(chunk);
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
    socket.once('close', () => {
      const connection = this.#proxies.get(socket);
      connection?.end();
      if (connection !== undefined) this.#hooks.vms.forgetUnmet(connection.vm);
      this.#hooks.forward.forget(socket);
      if (this.#proxies.delete(socket)) this.#hooks.changed();
    });
  }

  async #handle(socket: Socket, request: AgentRequest, reply: (message: AgentReply) => void): Promise<void> {
    switch (request.type) {
      case 'open':
        return this.#open(socket, request, reply);
      case 'status':
        return reply({ type: 'status', status: this.#hooks.status() });
      case 'stop':
        reply({ type: 'stopping' });
        return this.#hooks.stop();
      case 'seen': {
        const hostKey = Buffer.from(request.hostKey, 'base64');
        const signature = Buffer.from(request.signature, 'base64');
        return this.#proxy(socket).judge(hostKey, signature, request.host);
      }
      case 'retarget':
        return this.#proxy(socket).retarget();
      case 'answer':
        return this.#proxy(socket).answer(request.answer);
      case 'ready':
        return this.#proxy(socket).release();
      case 'proceeded':
        return this.#proxy(socket).proceed();
      case 'refused?':
        return this.#proxy(socket).tellWhetherRefused();
    }
  }

  async #open(socket: Socket, request: OpenRequest, reply: (message: AgentReply) => void): Promise<void> {
    if (request.version !== protocolVersion || this.#proxies.has(socket)) {
      throw new MintError('agent-unavailable', 'the running agent is of another version', {
        hint: 'mint-ssh agent stop; the next connection starts the new one',
      });
    }
    const name = vmName(request.vm);
    const { profile, region } = request;
    const file = loadSettings(this.#services.paths, { profile, region });
    const settings = file.named(name);
    const isInFile = file.vms.includes(name);
    // Refused before anything begins where the run directory is too deep for its socket.
    vmPaths(this.#services.paths, name).socket;
    const vm = this.#hooks.vms.get(name);
    const connection = new Connection(this.#services, vm, { settings, isInFile }, request, reply);
    this.#proxies.set(socket, connection);
    this.#hooks.changed();
    await connection.begin();
    await Promise.all([
      this.#hooks.vms.ensureSocket(vm),
      this.#hooks.forward.tell(socket, request.upstreamAgent, settings),
    ]);
  }

  #proxy(socket: Socket): Connection {
    const connection = this.#proxies.get(socket);
    if (connection === undefined) throw new MintError('agent-unavailable', 'a request before `open`');
    return connection;
  }
}
