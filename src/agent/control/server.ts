/** `run/control.sock`: serves the requests of proxies and of the commands. */
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Credentials } from '../../aws/requests.ts';
import { MintError } from '../../errors.ts';
import type { Caller, CredentialResolver } from '../../platform/caller.ts';
import { vmPaths } from '../../platform/paths.ts';
import { loadSettings, usesAws, type VmSettings } from '../../settings/settings.ts';
import type { UsualLogin } from '../../settings/usual-login.ts';
import { vmName } from '../../settings/vm-name.ts';
import { usualLogin } from '../../vms/usual-login.ts';
import { Connection, type ConnectionContext } from '../connection.ts';
import type { CallerCredentials, Resolution } from '../credentials/caller-credentials.ts';
import type { Forward } from '../forward.ts';
import { PendingConnections } from '../listener.ts';
import type { Vms } from '../vms.ts';
import { encodeLine, MessageStream, parseRequest } from './messages.ts';
import {
  type AgentReply,
  type AgentRequest,
  type AgentStatus,
  failureReply,
  type OpenRequest,
  protocolVersion,
} from './protocol.ts';

/** How long the agent waits for logins in progress before it exits for a newer program. */
const loginWaitMs = 5000;

export interface ControlContext extends ConnectionContext {
  readonly credentials: CallerCredentials;
}

export interface ControlHooks {
  readonly vms: Vms;
  readonly forward: Forward;
  readonly status: () => AgentStatus;
  readonly stop: () => void;
  /** A newer program has connected: ends the agent, and live proxies start the next one. */
  readonly superseded: () => void;
  /** Called when a proxy connects or ends, and when a job begins or ends. */
  readonly changed: () => void;
}

export class ControlServer {
  readonly #context: ControlContext;
  readonly #hooks: ControlHooks;
  readonly #pending = new PendingConnections({ limit: 128, timeoutMs: 10_000 });
  readonly #proxies = new Map<Socket, Connection>();
  /** The results that connected `mint-ssh credentials` processes will deliver. */
  readonly #resolutions = new Map<Socket, Resolution>();

  constructor(context: ControlContext, hooks: ControlHooks) {
    this.#context = context;
    this.#hooks = hooks;
  }

  get connections(): number {
    return this.#proxies.size;
  }

  /** Tells every proxy that this agent was told to stop, so that none starts another one. */
  sayStopping(): void {
    for (const socket of this.#proxies.keys()) socket.write(encodeLine({ type: 'stopping' }));
  }

  serve(socket: Socket): void {
    this.#pending.add(socket);
    const received = (request: AgentRequest) => {
      // A command that asks for status or stop gets its reply and need not stay connected.
      if (request.type === 'open') this.#pending.accept(socket);
      this.#handle(socket, request, reply).catch((error: unknown) => reply(failureReply(error)));
    };
    // A malformed message ends this connection only.
    const messages = new MessageStream(socket, parseRequest, received, () => socket.destroy());
    const reply = (message: AgentReply) => messages.send(message);
    // Read nothing more from a client that does not read its replies.
    socket.on('data', () => {
      if (!socket.writableNeedDrain) return;
      socket.pause();
      socket.once('drain', () => socket.resume());
    });
    socket.once('close', () => {
      this.#resolutions.get(socket)?.detach();
      this.#resolutions.delete(socket);
      const connection = this.#proxies.get(socket);
      connection?.end();
      if (connection !== undefined) {
        this.#hooks.forward.closed(connection.vm);
        this.#hooks.vms.forgetUnmet(connection.vm);
      }
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
        if (!request.force) refuseToLoseJobs(this.#context);
        reply({ type: 'stopping' });
        return this.#hooks.stop();
      case 'job-begin':
      case 'job-set':
      case 'job-end':
      case 'job-list':
        if (!(await this.#hasSameVersion(request.version, reply))) return;
        return reply(
          await this.#context.jobs
            .serve(request, (name) => this.#hooks.vms.removeSocket(name))
            .finally(() => this.#hooks.changed()),
        );
      case 'credentials-begin':
        this.#beginCredentials(socket, request.id);
        return reply({ type: 'credentials-wanted' });
      case 'credentials-progress':
        return this.#resolutions.get(socket)?.tell(request.line);
      case 'credentials':
        this.#resolutions.get(socket)?.settle(resultOf(request));
        return reply({ type: 'credentials-received' });
      case 'share-credentials':
        this.#context.credentials.share(request);
        return reply({ type: 'credentials-received' });
      case 'credentials-ended':
        return this.#context.credentials.resolution(request.id)?.ended();
      case 'secret':
        return this.#proxy(socket).prompt.answerSecret(request.answer);
      case 'check-host-key': {
        const hostKey = Buffer.from(request.hostKey, 'base64');
        const signature = Buffer.from(request.signature, 'base64');
        const outcome = await this.#proxy(socket).host.check(hostKey, signature, request.host);
        return reply({ type: 'host-key-checked', outcome });
      }
      case 'retarget':
        return this.#proxy(socket).retarget();
      case 'tunnel':
        return this.#proxy(socket).tunnel();
      case 'answer':
        return this.#proxy(socket).prompt.answer(request.answer);
      case 'await-push':
        return this.#proxy(socket).awaitPush();
      case 'client-accepted-host':
        return this.#proxy(socket).clientAcceptedHost();
      case 'explain-refusal':
        return this.#proxy(socket).explainRefusal();
      case 'prepare-refusal':
        return reply({ type: 'refusal', words: this.#proxy(socket).credential.refusal });
    }
  }

  #beginCredentials(socket: Socket, id: string): void {
    const resolution = this.#context.credentials.resolution(id);
    if (resolution === undefined)
      throw new MintError('agent-unavailable', 'no login waits for these credentials');
    this.#pending.accept(socket);
    this.#resolutions.set(socket, resolution);
    resolution.attach();
  }

  async #open(socket: Socket, request: OpenRequest, reply: (message: AgentReply) => void): Promise<void> {
    if (this.#proxies.has(socket)) {
      throw new MintError('agent-unavailable', 'a second `open` on one connection');
    }
    // An established session needs only what all versions have in common.
    const isOld = request.established && request.version < protocolVersion;
    // If the versions are compatible, do not wait: a `check-host-key` may follow in the same chunk.
    const isCompatible = isOld || request.version === protocolVersion;
    if (!isCompatible && !(await this.#hasSameVersion(request.version, reply))) return;
    const name = vmName(request.vm);
    const { profile, region } = request;
    const caller = this.#callerOf(socket, request, reply);
    const file = loadSettings(this.#context.paths, { profile, region });
    const usual = this.#usualLogin(request, caller, file.named(name));
    const settings = file.named(name, usual instanceof Promise ? await usual : usual);
    const isInFile = file.vms.includes(name);
    // Throws before anything begins if the path of the run directory is too long for a socket.
    vmPaths(this.#context.paths, name).socket;
    const vm = this.#hooks.vms.get(name);
    const connection = new Connection(this.#context, vm, { settings, isInFile }, request, caller, reply);
    this.#proxies.set(socket, connection);
    this.#hooks.changed();
    await connection.begin();
    const [notice] = await Promise.all([this.#hooks.forward.open(vm), this.#hooks.vms.ensureSocket(vm)]);
    if (notice !== undefined) reply({ type: 'progress', line: notice });
  }

  /** The caller of a proxy. The proxy resolves credentials until the login is done; then the terminal belongs to the session. */
  #callerOf(
    socket: Socket,
    { environment, session }: OpenRequest,
    reply: (message: AgentReply) => void,
  ): Caller {
    const isAvailable = () =>
      !socket.destroyed && (this.#proxies.get(socket)?.credential.isLoggingIn ?? true);
    const resolver: CredentialResolver = {
      get isAvailable() {
        return isAvailable();
      },
      resolve: (id, { profile, region }) => reply({ type: 'resolve-credentials', id, profile, region }),
      tell: (line) => reply({ type: 'progress', line }),
    };
    socket.once('close', () => this.#context.credentials.leave(resolver));
    return { environment, session, resolver };
  }

  /**
   * The user and port for a request without them, which a ProxyCommand written by hand may send. Returns no promise for
   * an established session: its `check-host-key` may follow in the same chunk, and must find the connection.
   */
  #usualLogin(request: OpenRequest, caller: Caller, settings: VmSettings): UsualLogin | Promise<UsualLogin> {
    const isComplete = request.established || (request.user !== undefined && request.port !== undefined);
    if (isComplete || settings.hasLogin || !usesAws(settings)) return {};
    const { names } = this.#context;
    const wanted = { caller, settings, byNameTag: true };
    const cached = names.cached(wanted)?.vm;
    if (cached !== undefined) return usualLogin(cached);
    // On a failure the connection itself asks again, and reports it.
    return names
      .look(wanted)
      .catch(() => undefined)
      .then(usualLogin);
  }

  /**
   * @returns whether the client has the same protocol version. If it is newer, the agent exits.
   * @throws MintError as `assertReplaceable`
   */
  async #hasSameVersion(version: number, reply: (message: AgentReply) => void): Promise<boolean> {
    if (version === protocolVersion) return true;
    await assertReplaceable(version, this.#context, () =>
      [...this.#proxies.values()].some(({ credential }) => credential.isLoggingIn),
    );
    reply({ type: 'superseded' });
    this.#hooks.superseded();
    return false;
  }

  #proxy(socket: Socket): Connection {
    const connection = this.#proxies.get(socket);
    if (connection === undefined) throw new MintError('agent-unavailable', 'a request before `open`');
    return connection;
  }
}

function resultOf({
  credentials,
  failure,
}: Extract<AgentRequest, { type: 'credentials' }>): Credentials | MintError {
  if (credentials !== undefined) return credentials;
  const { code, message, hint, unsafe } = failure ?? failureReply(new Error('no result'));
  return new MintError(code, message, { hint, unsafe });
}

/**
 * Waits until a newer program may replace this agent. Established sessions survive that; logins in progress get a few
 * seconds to complete.
 * @param version the protocol version of the program that asks
 * @throws MintError `agent-unavailable` if the program is older than the agent, `agent-in-use` if keys would be lost
 */
async function assertReplaceable(
  version: number,
  context: Pick<ControlContext, 'jobs' | 'managedKeys' | 'log'>,
  isLoggingIn: () => boolean,
): Promise<void> {
  if (version < protocolVersion) {
    throw new MintError('agent-unavailable', 'the running agent has another version, a newer one', {
      hint: 'update this mint-ssh; if it was updated while this command ran, run the command again',
    });
  }
  const held = heldKeys(context);
  if (held !== undefined) {
    throw new MintError('agent-in-use', `the running agent has another version, and holds ${held}`, {
      hint: 'it exits as soon as it holds none; to lose them and upgrade now: mint-ssh agent stop --force',
    });
  }
  context.log(`exits for a newer program, protocol version ${version}`);
  for (const deadline = performance.now() + loginWaitMs; isLoggingIn() && performance.now() < deadline; )
    await sleep(50);
}

/**
 * Refuses `agent stop` while job keys exist: they are nowhere but in the agent's memory. Unlocked managed keys are
 * still in the key store.
 * @throws MintError `agent-in-use`
 */
function refuseToLoseJobs({ jobs: { open } }: Pick<ControlContext, 'jobs'>): void {
  if (open.length === 0) return;
  const names = open.slice(0, 5).join(', ');
  throw new MintError(
    'agent-in-use',
    `the agent holds ${counted(open.length, 'job key')}: ${names}${open.length > 5 ? ', …' : ''}`,
    {
      hint: 'without it their VMs cannot be reached: end the jobs first, or run: mint-ssh agent stop --force',
    },
  );
}

/** @returns the keys in memory that the user would lose, in words; undefined if there are none */
function heldKeys({ jobs, managedKeys }: Pick<ControlContext, 'jobs' | 'managedKeys'>): string | undefined {
  const kinds = [counted(jobs.open.length, 'job key'), counted(managedKeys.unlocked.length, 'unlocked key')];
  const held = kinds.filter((kind) => kind !== undefined);
  return held.length === 0 ? undefined : held.join(' and ');
}

function counted(count: number, what: string): string | undefined {
  if (count === 0) return undefined;
  return count === 1 ? `a ${what}`.replace(/^a (?=[aeiou])/, 'an ') : `${count} ${what}s`;
}
