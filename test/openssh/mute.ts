/** An address that never answers, as behind a security group that drops packets. */
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type World, waitFor } from './world.ts';

const program = join(import.meta.dirname, 'programs/mute-listener.ts');

/** More than the queue of a listener with a backlog of one holds. */
const visitors = 6;

/** On loopback, until the returned function is called. */
export async function mute(world: World, host: string, port: number): Promise<() => void> {
  const listener = world.start(process.execPath, [program, host, String(port)], { timeout: 300_000 });
  await listener.until(/listening/);
  const sockets: Socket[] = [];
  for (let count = 0; count < visitors; count += 1) {
    sockets.push(connect({ host, port }).on('error', () => {}));
    await sleep(20);
  }
  await waitFor('the queue to be full', 15_000, () => sockets.some(({ connecting }) => connecting));
  return () => {
    for (const socket of sockets) socket.destroy();
    listener.kill('SIGKILL');
  };
}
