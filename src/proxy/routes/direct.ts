/** The route to a public or private address: a TCP connection. */
import net, { isIP } from 'node:net';
import type { Paths } from '../../platform/paths.ts';
import { type Address, readLastAddress } from '../../vms/last-address.ts';
import { ByteStream, bufferBytes } from '../byte-stream.ts';
import { cannotReach, noneReached, timedOut } from '../errors.ts';
import { AllFailed, race } from './happy-eyeballs.ts';
import type { DialRequest, EarlyConnection, Route } from './route.ts';

/** Between two addresses of one kind: RFC 8305 §8. */
const addressHeadStartMs = 250;
/**
 * What the public address has before the private one is dialled. It is more than a distant VM takes to answer: in the
 * network of this machine the same private address may belong to another machine.
 */
const publicHeadStartMs = 1000;
/** How long a server that was told the client's end may stay silent. */
const idleAfterEndMs = 30_000;
/**
 * How long an early connection is kept for an answer of the agent. What takes longer than the start of an agent is a
 * question to the user or the start of a VM; after that the address may be another machine's.
 */
const earlyDialMs = 2000;

export const direct: Route = {
  headStartMs: ({ kind }, previous) => (kind === previous?.kind ? addressHeadStartMs : publicHeadStartMs),

  async dial({ host }, request, signal) {
    if (isIP(host) !== 0) return await dialAddress(host, request, signal);
    const addresses = await resolve(host, request);
    const contenders = addresses.map((address, at) => ({
      headStartMs: at === 0 ? 0 : addressHeadStartMs,
      start: (over: AbortSignal) => dialAddress(address, request, AbortSignal.any([over, signal])),
    }));
    try {
      return await race(contenders, (server) => server.destroy());
    } catch (error) {
      throw error instanceof AllFailed ? noneReached(request.vm, error.failures) : error;
    }
  },
};

/** The addresses of a host name, the families in turn: RFC 8305 §4. */
async function resolve(host: string, { vm, port }: DialRequest): Promise<readonly string[]> {
  const { lookup } = process.getBuiltinModule('node:dns').promises;
  const found = await lookup(host, { all: true }).catch((cause: NodeJS.ErrnoException) => {
    throw cannotReach(vm, host, port, cause);
  });
  const first = found.filter(({ family }) => family === found[0]?.family);
  const second = found.filter(({ family }) => family !== found[0]?.family);
  const inTurn = found.flatMap((_, at) => [first[at], second[at]].filter((one) => one !== undefined));
  return inTurn.map(({ address }) => address);
}

async function dialAddress(
  host: string,
  { vm, port, timeoutMs, early }: DialRequest,
  signal: AbortSignal,
): Promise<ByteStream> {
  try {
    const begun = await early?.take({ host, port }, signal);
    return begun ?? (await connectTcp({ host, port }, timeoutMs, signal));
  } catch (cause) {
    throw cannotReach(vm, host, port, cause as NodeJS.ErrnoException);
  }
}

/**
 * Connects to a server.
 * @param signal aborted when the connection is no longer wanted
 * @throws the system's error: ECONNREFUSED, EHOSTUNREACH, …; ETIMEDOUT after `timeoutMs`
 */
export function connectTcp(
  address: { readonly host: string; readonly port: number },
  timeoutMs: number,
  signal?: AbortSignal,
): Promise<ByteStream> {
  return new Promise((resolve, reject) => {
    const stream = new ByteStream((receive) => {
      const socket = net.connect({
        ...address,
        noDelay: true,
        allowHalfOpen: true,
        onread: {
          buffer: Buffer.allocUnsafeSlow(bufferBytes),
          callback: (length, buffer) => receive((buffer as Buffer).subarray(0, length)),
        },
      });
      const giveUp = () => socket.destroy(timedOut());
      const timer = setTimeout(giveUp, Math.max(1, timeoutMs));
      signal?.addEventListener('abort', giveUp, { once: true });
      const stopWaiting = () => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', giveUp);
      };
      socket.once('connect', () => {
        stopWaiting();
        resolve(stream);
      });
      socket.once('error', (error: NodeJS.ErrnoException) => {
        stopWaiting();
        // A server that resets the connection has accepted it: the reader sees that it was established and broke.
        if (error.code === 'ECONNRESET') resolve(stream);
        else reject(error);
      });
      return {
        source: socket,
        sink: socket,
        closeSink: () => {
          socket.end();
          // sshd answers the client's end with its own. If the network is gone, TCP would wait for 15 minutes.
          socket.setTimeout(idleAfterEndMs, () => socket.destroy(timedOut()));
        },
      };
    });
  });
}

/** Begins to dial the last address of the VM, if it is known and the port fits. */
export function dialLastAddress(
  paths: Paths,
  { vm, port }: { readonly vm: string; readonly port: number | undefined },
): EarlyDial | undefined {
  const address = readLastAddress(paths, vm);
  if (address === undefined || (port !== undefined && port !== address.port)) return undefined;
  return new EarlyDial(address);
}

/**
 * A connection to the VM's last address, begun before the agent has named a target: nearly always it names the same
 * address. Until then nothing is sent on the connection and nothing read from it.
 */
export class EarlyDial implements EarlyConnection {
  readonly #address: Address;
  readonly #server: Promise<ByteStream | undefined>;
  readonly #unwanted = new AbortController();
  readonly #timer: NodeJS.Timeout;
  #isOver = false;

  constructor(address: Address) {
    this.#address = address;
    this.#server = connectTcp(address, earlyDialMs, this.#unwanted.signal).catch(() => undefined);
    this.#timer = setTimeout(() => this.discard(), earlyDialMs).unref();
  }

  /**
   * Hands out the connection, once.
   * @param signal aborted when it is no longer wanted
   * @returns undefined if it goes to another address, has failed or was taken before
   */
  async take({ host, port }: Address, signal: AbortSignal): Promise<ByteStream | undefined> {
    if (this.#isOver || host !== this.#address.host || port !== this.#address.port) return undefined;
    this.#isOver = true;
    clearTimeout(this.#timer);
    signal.addEventListener('abort', () => this.#unwanted.abort(), { once: true });
    return await this.#server;
  }

  /** Closes the connection if nothing took it. */
  discard(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    clearTimeout(this.#timer);
    this.#unwanted.abort();
    void this.#server.then((server) => server?.destroy());
  }
}
