/** What went wrong before a tunnel led to the VM. */
import type { IncomingMessage } from 'node:http';
import type { TunnelReply } from '../aws/workers.ts';
import { printable } from '../cli/terminal.ts';
import { type ErrorCode, MintError } from '../errors.ts';
import { isCertificate, reasonOf } from './unreachable.ts';

/** As much as is read of what an endpoint says instead of opening a tunnel, in bytes. */
const bodyLimit = 8192;
/** As much of it as is shown, in characters. */
const shownLength = 300;
/** What AWS's documents allow: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/connect-using-eice.html. */
const allowedPorts: readonly number[] = [22, 3389];

interface Wanted {
  readonly vm: string;
  readonly port: number;
}

export function noAnswer(): Error {
  return Object.assign(new Error('no answer in time'), { code: 'ETIMEDOUT' });
}

/** The tunnel was opened, and closed before the VM had said anything. */
export function nothingSaid(): Error {
  return new Error('the VM said nothing');
}

/** The endpoint answered with something else than a WebSocket: reads what. Never rejects. */
export async function refusal(
  response: IncomingMessage,
  { endpoint }: TunnelReply,
  { vm, port }: Wanted,
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
        {
          hint: `allow ec2-instance-connect:OpenTunnel on the endpoint ${endpoint}`,
        },
      );
    case 429:
      return new MintError(
        'aws-throttled',
        `the endpoint ${endpoint} takes no more tunnels for the moment: ${said}`,
        {
          hint: 'an endpoint has twenty tunnels: end some, or wait a few seconds and connect again',
        },
      );
    default:
      return failed(`the endpoint ${endpoint} opens no tunnel to ${vm}: ${said}`, portHint(port), undefined);
  }
}

/** @returns a MintError; the system's errors, and what the endpoint closed the tunnel with, become one */
export function unreached(error: unknown, { endpoint, url }: TunnelReply, { vm, port }: Wanted): MintError {
  if (error instanceof MintError && error.code !== 'io-failed') return error;
  if (error instanceof MintError || (error as Error).message === nothingSaid().message) {
    const what =
      error instanceof MintError ? error.message : `${endpoint} closed the tunnel, and ${vm} said nothing`;
    return failed(`cannot reach ${vm}: ${what}`, portHint(port), error);
  }
  const cause = error as NodeJS.ErrnoException;
  const { host } = new URL(url);
  return failed(
    `cannot reach ${vm} through ${endpoint} (${host}): ${reasonOf(cause)}`,
    hintFor(cause),
    error,
  );
}

function failed(message: string, hint: string, cause: unknown, code: ErrorCode = 'dial-failed'): MintError {
  return new MintError(code, message, { hint, cause });
}

function portHint(port: number): string {
  const isAllowed = allowedPorts.includes(port);
  return isAllowed
    ? `does sshd run there, and does its security group let the endpoint in on port ${port}?`
    : `AWS says that endpoints lead to ports ${allowedPorts.join(' and ')} alone, and \`port\` is ${port}; else: does its security group let the endpoint in?`;
}

function hintFor({ code = '' }: NodeJS.ErrnoException): string {
  if (isCertificate(code)) {
    return "something between you and AWS has its own certificate: let AWS_CA_BUNDLE name your company's CA file";
  }
  return 'check the network, HTTPS_PROXY and NO_PROXY; the endpoint is reached on port 443';
}

/** JSON with a message, as AWS's services answer, or whatever else it is: on one line, cut. */
async function readText(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      chunks.push(chunk);
      length += chunk.length;
      if (length >= bodyLimit) break;
    }
  } catch {
    // What came so far has to do.
  }
  const body = Buffer.concat(chunks).subarray(0, bodyLimit).toString('utf8');
  const line = printable((messageIn(body) ?? body).replace(/\s+/g, ' ').trim());
  return line.length > shownLength ? `${line.slice(0, shownLength)}…` : line.replace(/\.$/, '');
}

function messageIn(body: string): string | undefined {
  try {
    const { message, Message } = JSON.parse(body) as { message?: unknown; Message?: unknown };
    return [message, Message].find((text) => typeof text === 'string');
  } catch {
    return undefined;
  }
}
