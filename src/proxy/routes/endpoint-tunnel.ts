/** A tunnel of an EC2 Instance Connect Endpoint: a WebSocket to AWS. */
import type { IncomingMessage } from 'node:http';
import { isatty } from 'node:tty';
import type { TunnelReply } from '../../aws/requests.ts';
import { printable, warn } from '../../cli/terminal.ts';
import { MintError } from '../../errors.ts';
import { webAgents } from '../../platform/https-agent.ts';
import { ByteStream } from '../byte-stream.ts';
import { isCertificateError, reasonOf, timedOut } from '../errors.ts';
import { maxMessageBytes, TunnelStream } from './endpoint-stream.ts';

/** How much is read of a reply that is not a WebSocket. */
const maxBodyBytes = 8192;
/** How many characters of it are shown. */
const maxShownLength = 300;
/** AWS ends every tunnel after an hour. The user is told this many seconds before. */
const noticeSeconds = 5 * 60;
/** How often the clock is read: one timer of an hour would stop while a laptop sleeps. */
const clockCheckMs = 5000;

const vmWasSilent = 'the VM sent nothing';

export interface TunnelOptions {
  readonly vm: string;
  readonly port: number;
  /** How long it may take to open. */
  readonly timeoutMs: number;
  /** Aborted when the tunnel is no longer wanted. */
  readonly signal: AbortSignal;
}

/**
 * Opens the tunnel and waits for the VM's first bytes, because AWS opens it before it has reached the VM. The HTTP
 * proxy and the certificates are those of every call to AWS.
 * @throws MintError `dial-failed`, `aws-denied`, `aws-throttled`, `bad-settings`
 */
export async function openTunnel(tunnel: TunnelReply, options: TunnelOptions): Promise<ByteStream> {
  const { WebSocket } = await import('ws');
  const { httpsAgent } = webAgents(process.env, { keepAlive: false, caBundle: tunnel.caBundle });
  const socket = new WebSocket(tunnel.url, {
    agent: httpsAgent,
    perMessageDeflate: false,
    maxPayload: maxMessageBytes,
  });
  const stream = new TunnelStream(socket, tunnel.endpoint);
  const server = new ByteStream((receive) => {
    stream.on('data', (bytes: Buffer) => {
      if (!receive(bytes)) stream.pause();
    });
    return { source: stream, sink: stream, closeSink: () => stream.end() };
  });

  const { promise: firstBytes, resolve, reject } = Promise.withResolvers<void>();
  stream.once('data', () => resolve());
  stream.once('error', reject).once('end', () => reject(new Error(vmWasSilent)));
  socket.once('unexpected-response', (_request, response) => {
    explainResponse(response, tunnel, options).then(reject, reject);
  });
  const giveUp = () => reject(timedOut());
  const timer = setTimeout(giveUp, Math.max(1, options.timeoutMs));
  options.signal.addEventListener('abort', giveUp, { once: true });
  if (options.signal.aborted) giveUp();
  try {
    await firstBytes;
  } catch (error) {
    stream.destroy();
    throw explainFailure(error, tunnel, options);
  } finally {
    clearTimeout(timer);
    options.signal.removeEventListener('abort', giveUp);
  }
  stream.once('close', announceEnd(options.vm, tunnel.seconds));
  return server;
}

/**
 * Tells the user once, on the terminal, that the tunnel is about to end.
 * @param seconds how long the tunnel lasts from now on
 * @returns a function that cancels the announcement
 */
function announceEnd(vm: string, seconds: number): () => void {
  const until = Date.now() + seconds * 1000;
  const timer = setInterval(() => {
    const left = Math.round((until - Date.now()) / 1000);
    if (left > noticeSeconds) return;
    clearInterval(timer);
    if (left > 0)
      warnInSession(`the tunnel to ${vm} ends in ${inWords(left)}: AWS ends every tunnel after an hour`);
  }, clockCheckMs).unref();
  return () => clearInterval(timer);
}

function inWords(seconds: number): string {
  const minutes = Math.round(seconds / 60);
  if (minutes > 1) return `${minutes} minutes`;
  return minutes === 1 ? 'a minute' : 'a moment';
}

/** During a session ssh has the terminal in raw mode, where a line feed alone does not return to the left edge. */
function warnInSession(line: string): void {
  warn(isatty(2) ? `\r\nmint-ssh: ${line}\r\n` : `mint-ssh: ${line}`);
}

/** Explains the endpoint's reply if it is not a WebSocket. It never rejects. */
export async function explainResponse(
  response: IncomingMessage,
  { endpoint }: TunnelReply,
  { vm }: Pick<TunnelOptions, 'vm'>,
): Promise<MintError> {
  const status = response.statusCode ?? 0;
  const text = await readText(response);
  const said = text === '' ? `HTTP ${status}` : `${text} (HTTP ${status})`;
  switch (status) {
    case 401:
    case 403:
      return new MintError(
        'aws-denied',
        `AWS does not allow a tunnel to ${vm} through ${endpoint}: ${said}`,
        { hint: `allow ec2-instance-connect:OpenTunnel on the endpoint ${endpoint}` },
      );
    case 429:
      return new MintError('aws-throttled', `the endpoint ${endpoint} opens no more tunnels now: ${said}`, {
        hint: 'an endpoint has twenty tunnels: end some, or wait a few seconds and connect again',
      });
    default:
      return failed(
        `the endpoint ${endpoint} opens no tunnel to ${vm}: ${said}`,
        securityGroupHint,
        undefined,
      );
  }
}

/** @returns the error to report: errors of the system and reasons of the endpoint become `dial-failed` */
function explainFailure(error: unknown, { endpoint, url }: TunnelReply, { vm }: TunnelOptions): MintError {
  if (error instanceof MintError && error.code !== 'io-failed') return error;
  if (error instanceof MintError || (error as Error).message === vmWasSilent) {
    const what =
      error instanceof MintError ? error.message : `${endpoint} closed the tunnel, and ${vm} sent nothing`;
    return failed(`cannot reach ${vm}: ${what}`, securityGroupHint, error);
  }
  const cause = error as NodeJS.ErrnoException;
  const { host } = new URL(url);
  return failed(
    `cannot reach ${vm} through ${endpoint} (${host}): ${reasonOf(cause)}`,
    isCertificateError(cause.code ?? '')
      ? "a TLS inspection proxy may be in between: set AWS_CA_BUNDLE to your company's CA file"
      : 'check the network, HTTPS_PROXY and NO_PROXY; the endpoint is reached on port 443',
    error,
  );
}

const securityGroupHint =
  'check that sshd listens on that port of the VM, and that its security group allows the endpoint';

function failed(message: string, hint: string, cause: unknown): MintError {
  return new MintError('dial-failed', message, { hint, cause });
}

/** @returns the message in the body, or the body itself, on one line and cut */
async function readText(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      chunks.push(chunk);
      length += chunk.length;
      if (length >= maxBodyBytes) break;
    }
  } catch {
    // Use what has arrived.
  }
  const body = Buffer.concat(chunks).subarray(0, maxBodyBytes).toString('utf8');
  const line = printable((messageIn(body) ?? body).replace(/\s+/g, ' ').trim());
  // The cut may split a character in two.
  return line.length > maxShownLength
    ? `${line.slice(0, maxShownLength).toWellFormed()}…`
    : line.replace(/\.$/, '');
}

/** AWS services reply with JSON that has a `message` or `Message`. */
function messageIn(body: string): string | undefined {
  try {
    const { message, Message } = JSON.parse(body) as { message?: unknown; Message?: unknown };
    return [message, Message].find((text) => typeof text === 'string');
  } catch {
    return undefined;
  }
}
