/** Relays between a client and a server, and records their messages until both encrypt. */
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import type { Duplex } from 'node:stream';
import { behindNewKeys, type Side, type Turn } from '../recording.ts';

/** Encrypted bytes to keep after each NEWKEYS; they show that a side accepted the exchange. */
const sealedBytes = 16;
const limitMilliseconds = 30_000;

/**
 * Runs one connection: `start` takes the port to connect to and returns a function that ends the client.
 *
 * @throws Error if the key exchange did not end in time
 */
export async function tap(server: () => Duplex, start: (port: number) => () => void): Promise<Turn[]> {
  const listener = createServer().listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const stopClient = start((listener.address() as AddressInfo).port);
  const signal = AbortSignal.timeout(limitMilliseconds);
  try {
    const [client] = (await once(listener, 'connection', { signal })) as [Duplex];
    return await listen(client, server(), signal);
  } finally {
    stopClient();
    listener.close();
  }
}

async function listen(client: Duplex, server: Duplex, signal: AbortSignal): Promise<Turn[]> {
  const turns: Turn[] = [];
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const ended = (side: Side) => () => reject(new Error(`the ${side} ended: ${said(turns)}`));
  const hear = (side: Side, from: Duplex, to: Duplex): void => {
    from.on('data', (bytes: Buffer) => {
      turns.push({ side, bytes: Buffer.from(bytes) });
      to.write(bytes);
      if (isComplete(turns)) resolve();
    });
    from.on('end', ended(side)).on('error', ended(side));
  };
  signal.addEventListener('abort', () => reject(new Error(`no end in time: ${said(turns)}`)));
  hear('client', client, server);
  hear('server', server, client);
  try {
    await promise;
  } finally {
    client.destroy();
    server.destroy();
  }
  return cut(turns);
}

function streamOf(turns: readonly Turn[], side: Side): Buffer {
  return Buffer.concat(turns.filter((turn) => turn.side === side).map(({ bytes }) => bytes));
}

function isComplete(turns: readonly Turn[]): boolean {
  return (['client', 'server'] as const).every((side) => {
    const stream = streamOf(turns, side);
    const sealed = behindNewKeys(stream);
    return sealed !== undefined && stream.length >= sealed + sealedBytes;
  });
}

/** Drops everything after the first encrypted bytes of each side. */
function cut(turns: readonly Turn[]): Turn[] {
  const left = {
    client: (behindNewKeys(streamOf(turns, 'client')) ?? 0) + sealedBytes,
    server: (behindNewKeys(streamOf(turns, 'server')) ?? 0) + sealedBytes,
  };
  return turns
    .map(({ side, bytes }) => {
      const kept = bytes.subarray(0, left[side]);
      left[side] -= kept.length;
      return { side, bytes: kept };
    })
    .filter(({ bytes }) => bytes.length > 0);
}

function said(turns: readonly Turn[]): string {
  return turns
    .map(({ side, bytes }) => `${side} ${JSON.stringify(bytes.toString('latin1', 0, 200))}`)
    .join('\n');
}
