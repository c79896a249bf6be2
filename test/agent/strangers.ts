import { randomBytes } from 'node:crypto';
import type { Socket } from 'node:net';
import type { World } from '../openssh/world.ts';
import { connected, controlPath, keyPath } from './clients.ts';

/** Data of other programs: nothing, garbage, half a message, a large one that never ends. */
const sayings: readonly ((control: boolean) => Buffer | undefined)[] = [
  () => undefined,
  () => randomBytes(200),
  (control) => (control ? Buffer.from('{"type":"open","vm":"de') : Buffer.from([0, 0, 0, 99, 13, 0])),
  (control) =>
    control ? Buffer.alloc(20_000, 0x20) : Buffer.concat([Buffer.from([0, 3, 0, 0]), Buffer.alloc(20_000)]),
];

/** Connects to one of the agent's sockets (even numbers: the control socket), sends its data, and stays connected. */
export async function stranger(world: World, index: number): Promise<Socket> {
  const control = index % 2 === 0;
  const socket = await connected(control ? controlPath(world) : keyPath(world, 'dev'));
  socket.resume();
  const bytes = sayings[(index >> 1) % sayings.length]?.(control);
  if (bytes !== undefined) socket.write(bytes);
  return socket;
}
