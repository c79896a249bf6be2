/** A TCP relay on loopback in place of the network between the proxy and the VM. */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

export interface Relay {
  readonly port: number;
  /** The port on loopback that new connections are taken to. */
  target: number;
  /** Each way, in milliseconds. */
  delayMilliseconds: number;
  /** How many connections were accepted so far, and how many are open. */
  readonly accepted: number;
  readonly open: number;
  /** Bytes carried from the server to the client so far. */
  readonly bytesDown: number;
  /** What the server sends is held back (and the rest goes on) until the returned function is called. */
  holdServer(): () => void;
  /** What the client sends is held back until the returned function is called. */
  holdClient(): () => void;
  /** Resets every open connection. */
  cut(): void;
  /** New connections are accepted and closed at once. */
  refuse(on?: boolean): void;
  close(): Promise<void>;
}

/** At most this many bytes are under way in one direction of one connection. */
const windowBytes = 4 << 20;

export async function startRelay(target: number): Promise<Relay> {
  const sockets = new Set<Socket>();
  const server = gate();
  const client = gate();
  let refusing = false;
  const counters = { accepted: 0, open: 0, bytesDown: 0 };

  const listener = createServer({ allowHalfOpen: true, noDelay: true }, (near) => {
    counters.accepted += 1;
    near.on('error', () => near.destroy());
    if (refusing) {
      near.destroy();
      return;
    }
    counters.open += 1;
    const far = connect({ port: relay.target, host: '127.0.0.1', allowHalfOpen: true, noDelay: true });
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(one);
      one.on('error', () => other.destroy());
      one.on('close', () => sockets.delete(one));
    }
    near.on('close', () => {
      counters.open -= 1;
    });
    carry(near, far, () => client.open).catch(() => far.destroy());
    carry(far, near, () => server.open).catch(() => near.destroy());
    far.on('data', (chunk: Buffer) => {
      counters.bytesDown += chunk.length;
    });
  });

  async function carry(from: Socket, to: Socket, opened: () => Promise<void>): Promise<void> {
    let underWay = 0;
    let last = Promise.resolve();
    from.on('data', (chunk: Buffer) => {
      const due = performance.now() + relay.delayMilliseconds;
      underWay += chunk.length;
      if (underWay > windowBytes) from.pause();
      last = last.then(async () => {
        const wait = due - performance.now();
        if (wait > 0) await sleep(wait);
        await opened();
        if (!to.destroyed && !to.write(chunk)) await Promise.race([once(to, 'drain'), once(to, 'close')]);
        underWay -= chunk.length;
        if (underWay <= windowBytes) from.resume();
      });
      last.catch(() => to.destroy());
    });
    await once(from, 'end');
    if (relay.delayMilliseconds > 0) await sleep(relay.delayMilliseconds);
    await last;
    to.end();
  }

  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
  const relay: Relay = {
    port: (listener.address() as AddressInfo).port,
    target,
    delayMilliseconds: 0,
    get accepted() {
      return counters.accepted;
    },
    get open() {
      return counters.open;
    },
    get bytesDown() {
      return counters.bytesDown;
    },
    holdServer: server.hold,
    holdClient: client.hold,
    cut() {
      for (const socket of sockets) socket.resetAndDestroy();
    },
    refuse(on = true) {
      refusing = on;
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => listener.close(resolve));
    },
  };
  return relay;
}

function gate(): { readonly open: Promise<void>; hold(): () => void } {
  let open = Promise.resolve();
  return {
    get open() {
      return open;
    },
    hold() {
      const { promise, resolve } = Promise.withResolvers<void>();
      open = promise;
      return resolve;
    },
  };
}
