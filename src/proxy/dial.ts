/** Step 2: a TCP connection to the VM. */
import { MintError } from '../errors.ts';
import { connectServer, type End } from './end.ts';

export interface Target {
  readonly vm: string;
  readonly host: string;
  readonly port: number;
}

/**
 * @param limit milliseconds that are left for it
 * @throws MintError `dial-failed`
 */
export async function dial(target: Target, limit: number): Promise<End> {
  try {
    return await connectServer(target, Math.max(1, limit));
  } catch (cause) {
    const error = cause as NodeJS.ErrnoException;
    throw new MintError(
      'dial-failed',
      `cannot reach ${target.vm} at ${target.host} port ${target.port}: ${reason(error)}`,
      { hint: hintFor(error.code), cause },
    );
  }
}

function reason(error: NodeJS.ErrnoException): string {
  switch (error.code) {
    case 'ECONNREFUSED':
      return 'connection refused';
    case 'EHOSTUNREACH':
    case 'ENETUNREACH':
      return 'no route to it';
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return 'its name does not resolve';
    case 'ETIMEDOUT':
      return 'no answer';
    default:
      return error.code ?? error.message;
  }
}

function hintFor(code: string | undefined): string {
  switch (code) {
    case 'ECONNREFUSED':
      return 'nothing listens there: is the VM still booting, and is `port` in ssh.toml the one sshd listens on?';
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return 'check `host` in ssh.toml, and this machine’s name service';
    default:
      return 'is the VM running, does its security group let this machine in, and is `host` in ssh.toml its address?';
  }
}
