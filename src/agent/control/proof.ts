/**
 * Windows: both ends of the control pipe prove that they know the run directory's secret before they send anything else.
 *
 * Any program may create a pipe with the agent's name while no agent runs, and wait for a proxy. The proxy would send it
 * the AWS settings of its environment and believe its replies. The name of a pipe is not secret once it was used. So:
 *
 *     client  C
 *     agent   A HMAC(secret, "agent", name, C, A)
 *     client  HMAC(secret, "client", name, C, A)
 *
 * one line each; C and A are random, and everything is hexadecimal. Neither answer is valid for another connection,
 * another pipe or the other side. On Unix the mode of the run directory protects the socket, and there is no proof.
 */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import type { Socket } from 'node:net';
import { MintError } from '../../errors.ts';
import type { Paths } from '../../platform/paths.ts';
import { controlSecret } from '../../platform/sockets.ts';

const nonceBytes = 32;
/** How long the other side may take. */
const proofTimeoutMs = 5000;

/**
 * The client's part. What the agent sends after it is left in the socket, which is paused.
 * @param name of the pipe
 * @throws MintError `unsafe-permissions`; an error with the code ECONNRESET if the pipe is closed
 */
export async function proveToAgent(socket: Socket, secret: Buffer, name: string): Promise<void> {
  const own = randomBytes(nonceBytes).toString('hex');
  socket.write(`${own}\n`);
  const line = await readLine(socket, 4 * nonceBytes + 1);
  const [, other = '', proof = ''] = /^([0-9a-f]{64}) ([0-9a-f]{64})$/.exec(line ?? '') ?? [];
  const proofOf = (side: Side) => prove(secret, side, name, own, other);
  if (!isEqual(proof, proofOf('agent'))) {
    socket.destroy();
    throw new MintError('unsafe-permissions', `what listens on ${name} is not your agent`, {
      hint: 'another program has taken its name: end that program, or remove `pipes` in the run directory and run `mint-ssh ssh-config`',
    });
  }
  socket.write(`${proofOf('client')}\n`);
}

/**
 * The agent's part: calls `serve` with a client that has proved itself, and closes any other connection. On Unix every
 * client is served.
 */
export function serveProven(
  socket: Socket,
  { control, run }: Pick<Paths, 'control' | 'run'>,
  serve: (socket: Socket) => void,
  secret = controlSecret(run),
): void {
  if (secret === undefined) {
    serve(socket);
    return;
  }
  isProven(socket, secret, control).then(
    (proven) => {
      if (!proven) socket.destroy();
      else {
        serve(socket);
        socket.resume();
      }
    },
    () => socket.destroy(),
  );
}

async function isProven(socket: Socket, secret: Buffer, name: string): Promise<boolean> {
  const other = await readLine(socket, 2 * nonceBytes);
  if (other === undefined || !/^[0-9a-f]{64}$/.test(other)) return false;
  const own = randomBytes(nonceBytes).toString('hex');
  const proofOf = (side: Side) => prove(secret, side, name, other, own);
  socket.write(`${own} ${proofOf('agent')}\n`);
  const proof = await readLine(socket, 2 * nonceBytes);
  return proof !== undefined && isEqual(proof, proofOf('client'));
}

type Side = 'agent' | 'client';

function prove(secret: Buffer, side: Side, name: string, client: string, agent: string): string {
  return createHmac('sha256', secret)
    .update(JSON.stringify(['proof', side, name, client, agent]))
    .digest('hex');
}

function isEqual(one: string, other: string): boolean {
  return one.length === other.length && timingSafeEqual(Buffer.from(one), Buffer.from(other));
}

/**
 * Reads up to the next line feed, and pauses the socket after it.
 * @param limit in bytes
 * @returns undefined if the line is longer than that, or does not come in time
 * @throws an error with the code ECONNRESET if the socket ends
 */
function readLine(socket: Socket, limit: number): Promise<string | undefined> {
  return new Promise((resolve, reject) => {
    let held = Buffer.alloc(0);
    const settle = (then: () => void) => {
      clearTimeout(timer);
      socket.off('data', take).off('close', gone).off('end', gone);
      socket.pause();
      then();
    };
    const gone = () =>
      settle(() => reject(Object.assign(new Error('the other side ended'), { code: 'ECONNRESET' })));
    const take = (bytes: Buffer) => {
      held = Buffer.concat([held, bytes]);
      const end = held.indexOf(10);
      if (end < 0 && held.length <= limit) return;
      settle(() => {
        if (end < 0 || end > limit) return resolve(undefined);
        const rest = held.subarray(end + 1);
        if (rest.length > 0) socket.unshift(rest);
        resolve(held.subarray(0, end).toString('latin1'));
      });
    };
    const timer = setTimeout(() => settle(() => resolve(undefined)), proofTimeoutMs);
    socket.on('data', take).once('close', gone).once('end', gone);
    socket.resume();
  });
}
