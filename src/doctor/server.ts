/** Whether the VM's address answers, and with SSH. One connection, for sshd counts those that log in no one. */
import net from 'node:net';
import { quoted } from '../platform/files.ts';
import type { Candidate } from '../vms/candidates.ts';
import type { VmCase } from './case.ts';
import { type Finding, fail, ok } from './check.ts';

export interface ServerFinding {
  readonly host: string | undefined;
  /** Whether a login may go through an Instance Connect Endpoint as well. */
  readonly hasTunnel: boolean;
  readonly port: number;
  /** Of the TCP connection; undefined where it came up. */
  readonly error: string | undefined;
  /** The line that begins with `SSH-`; undefined where none came. */
  readonly banner: string | undefined;
  /** What else the server said first. */
  readonly said: string;
}

/** For the connection, and for the banner, in milliseconds. */
const connectLimit = 5_000;
const bannerLimit = 4_000;
/** A server may send lines before its own (RFC 4253 §4.2), but not for ever. */
const saidLimit = 8_192;

/** Dials the first address; an endpoint is left to the login itself. */
export function askServer({ vm }: VmCase, candidates: readonly Candidate[]): Promise<ServerFinding> {
  const direct = candidates.find(({ kind }) => kind !== 'endpoint');
  const at = {
    host: direct?.host,
    port: vm.port,
    hasTunnel: candidates.some(({ kind }) => kind === 'endpoint'),
  };
  if (at.host === undefined)
    return Promise.resolve({ ...at, error: 'no address', banner: undefined, said: '' });
  return new Promise((resolve) => {
    let said = '';
    let error: string | undefined = 'no answer';
    const socket = net.connect({ host: at.host, port: at.port });
    const finish = () => {
      clearTimeout(timer);
      socket.destroy();
      resolve({ ...at, error, banner: /^SSH-[^\r\n]*(?=\r?\n)/m.exec(said)?.[0], said: said.slice(0, 60) });
    };
    let timer = setTimeout(finish, connectLimit);
    socket.once('connect', () => {
      error = undefined;
      clearTimeout(timer);
      timer = setTimeout(finish, bannerLimit);
    });
    socket.on('data', (chunk: Buffer) => {
      said += chunk.toString('latin1');
      if (said.length > saidLimit || /^SSH-[^\n]*\n/m.test(said)) finish();
    });
    socket.once('error', (cause: NodeJS.ErrnoException) => {
      if (error !== undefined) error = cause.code ?? cause.message;
      finish();
    });
    socket.once('end', finish);
  });
}

export function judgeAddress({ host, port, error, hasTunnel }: ServerFinding): readonly Finding[] {
  if (error === undefined) return [ok(`${host} port ${port} answers`)];
  if (hasTunnel) {
    const what =
      host === undefined ? 'it has no address' : `${host} port ${port} cannot be reached: ${error}`;
    return [ok(`${what}; a login goes through an Instance Connect Endpoint`)];
  }
  if (host === undefined) return [fail('the VM has no address', 'set host in ssh.toml')];
  return [
    fail(
      `${host} port ${port} cannot be reached: ${error}`,
      error === 'ECONNREFUSED'
        ? 'nothing listens there: is the VM still booting, and is port in ssh.toml the one of its sshd?'
        : 'is the VM running, does its security group let you in, and is host in ssh.toml its address?',
    ),
  ];
}

/** Nothing where there was no connection: that was said already. */
export function judgeBanner({ error, banner, said }: ServerFinding): readonly Finding[] {
  if (error !== undefined) return [];
  if (banner !== undefined) return [ok(banner.slice(0, 100))];
  const what = said === '' ? 'it says nothing' : `it says ${quoted(said)}`;
  return [fail(`what answers there is no SSH server: ${what}`, 'is port in ssh.toml the one of its sshd?')];
}
