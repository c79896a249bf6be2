/**
 * A way through an EC2 Instance Connect Endpoint: a WebSocket to AWS, which connects to the VM from inside its VPC.
 * Loaded where such a way is taken, and only then.
 */
import type { TunnelReply } from '../aws/workers.ts';
import { webAgents } from '../platform/https-agent.ts';
import { End } from './end.ts';
import { announceEnd } from './tunnel-end.ts';
import { noAnswer, nothingSaid, refusal, unreached } from './tunnel-failure.ts';
import { messageLimit, TunnelStream } from './tunnel-stream.ts';

export interface TunnelOptions {
  readonly vm: string;
  readonly port: number;
  /** How long it may take, in milliseconds. */
  readonly limit: number;
  /** It is no longer wanted. */
  readonly signal: AbortSignal;
}

/**
 * Opens the tunnel and waits for the VM's first words, because AWS opens it before it has reached the VM. Its host
 * name, proxy and certificates are looked for as for every call to AWS.
 * @throws MintError `dial-failed`, `aws-denied`, `aws-throttled`, `bad-settings`
 */
export async function openTunnel(tunnel: TunnelReply, options: TunnelOptions): Promise<End> {
  const { WebSocket } = await import('ws');
  const { httpsAgent } = webAgents(process.env, false);
  const socket = new WebSocket(tunnel.url, {
    agent: httpsAgent,
    perMessageDeflate: false,
    maxPayload: messageLimit,
  });
  const stream = new TunnelStream(socket, tunnel.endpoint);
  const end = new End((receive) => {
    stream.on('data', (bytes: Buffer) => {
      if (!receive(bytes)) stream.pause();
    });
    return { source: stream, sink: stream, closeSink: () => stream.end() };
  });

  const { promise: spoke, resolve, reject } = Promise.withResolvers<void>();
  stream.once('data', () => resolve());
  stream.once('error', reject).once('end', () => reject(nothingSaid()));
  socket.once('unexpected-response', (_request, response) => {
    refusal(response, tunnel, options).then(reject, reject);
  });
  const giveUp = () => reject(noAnswer());
  const timer = setTimeout(giveUp, Math.max(1, options.limit));
  options.signal.addEventListener('abort', giveUp, { once: true });
  if (options.signal.aborted) giveUp();
  try {
    await spoke;
  } catch (error) {
    stream.destroy();
    throw unreached(error, tunnel, options);
  } finally {
    clearTimeout(timer);
    options.signal.removeEventListener('abort', giveUp);
  }
  stream.once('close', announceEnd(options.vm, tunnel.seconds));
  return end;
}
