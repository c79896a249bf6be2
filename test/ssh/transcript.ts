/** Sends a conversation to an observer turn by turn, and checks that it returns the same bytes. */
import assert from 'node:assert/strict';
import { type ClientEvent, KeyExchangeObserver, type ServerEvent } from '../../src/ssh/observer.ts';
import {
  clientBanner,
  group,
  groupInit,
  groupRequest,
  init,
  kexInit,
  newKeys,
  reply,
  serverBanner,
} from './packets.ts';

export interface Turn {
  readonly side: 'client' | 'server';
  readonly bytes: Buffer;
}

export const fromClient = (...bytes: Buffer[]): Turn => ({ side: 'client', bytes: Buffer.concat(bytes) });
export const fromServer = (...bytes: Buffer[]): Turn => ({ side: 'server', bytes: Buffer.concat(bytes) });

export interface Told {
  readonly observer: KeyExchangeObserver;
  readonly server: readonly ServerEvent[];
  readonly client: readonly ClientEvent[];
}

/** Sends all turns, and checks that no byte of complete packets was lost, added or moved. */
export function tell(turns: readonly Turn[], observer = new KeyExchangeObserver()): Told {
  const server: ServerEvent[] = [];
  const client: ClientEvent[] = [];
  for (const { side, bytes } of turns) {
    if (side === 'server') server.push(...observer.server(bytes));
    else client.push(...observer.client(bytes));
  }
  const said = (side: Turn['side']): Buffer =>
    Buffer.concat(turns.filter((turn) => turn.side === side).map(({ bytes }) => bytes));
  assert.deepEqual(joined(server), said('server'));
  assert.deepEqual(joined(client), said('client'));
  return { observer, server, client };
}

export function joined(events: readonly (ServerEvent | ClientEvent)[]): Buffer {
  return Buffer.concat(events.map(({ bytes }) => bytes));
}

/** The only reply of a conversation. */
export function replyOf(told: Told): Extract<ServerEvent, { type: 'reply' }> {
  const [found, ...more] = told.server.filter((event) => event.type === 'reply');
  assert.ok(found !== undefined, 'no reply was reported');
  assert.equal(more.length, 0, 'more than one reply was reported');
  return found;
}

export const banners: readonly Turn[] = [fromServer(serverBanner), fromClient(clientBanner)];

/** The turns of every key exchange except group exchange. */
export function plainExchange(hostKey: Buffer): Turn[] {
  return [
    ...banners,
    fromClient(kexInit()),
    fromServer(kexInit()),
    fromClient(init),
    fromServer(reply(hostKey)),
    fromServer(newKeys),
    fromClient(newKeys),
  ];
}

export const gex = { keyExchanges: 'diffie-hellman-group-exchange-sha256' };

export function groupExchange(hostKey: Buffer, request = groupRequest): Turn[] {
  return [
    ...banners,
    fromClient(kexInit(gex)),
    fromServer(kexInit(gex)),
    fromClient(request),
    fromServer(group()),
    fromClient(groupInit),
    fromServer(reply(hostKey, 33)),
    fromServer(newKeys),
    fromClient(newKeys),
  ];
}
