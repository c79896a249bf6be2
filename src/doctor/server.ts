/** Whether the VM's address answers, and with SSH. One connection each: sshd counts those that do not log in. */
import net from 'node:net';
import { quoted } from '../platform/files.ts';
import { mintLogin, ordinaryLogin } from '../settings/usual-login.ts';
import { type Candidate, isDirect } from '../vms/candidates.ts';
import type { VmCase } from './case.ts';
import { type Finding, fail, notChecked, ok } from './check.ts';

export interface ServerFinding {
  /** The address that answered, else the first that was tried; undefined where there is none to try. */
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
  /** Another usual port of sshd that answers there with SSH, where `port` does not. */
  readonly otherPort?: number | undefined;
}

/** Whether nothing answers at any address, and no endpoint or jump host leads to the VM. */
export function isUnreachable({ error, hasTunnel }: ServerFinding): boolean {
  return error !== undefined && !hasTunnel;
}

const connectLimitMs = 5_000;
const bannerLimitMs = 4_000;
/** A server may send lines before its own (RFC 4253 §4.2), but not for ever. */
const maxSaidLength = 8_192;

/** Dials the addresses at once; an endpoint and a jump host are left to the login itself. */
export async function askServer({ vm }: VmCase, candidates: readonly Candidate[]): Promise<ServerFinding> {
  const hosts = candidates.filter(isDirect).map(({ host }) => host);
  const hasTunnel = candidates.some((candidate) => !isDirect(candidate));
  const [first] = hosts;
  if (first === undefined) {
    return { host: undefined, hasTunnel, port: vm.port, error: 'no address', banner: undefined, said: '' };
  }
  const answers = await Promise.all(hosts.map((host) => dial(host, vm.port)));
  const answer = answers.find(({ error }) => error === undefined) ?? answers[0];
  if (answer === undefined || answer.error === undefined) {
    return { ...noAnswer(first, vm.port), ...answer, hasTunnel };
  }
  const others = [ordinaryLogin.port, mintLogin.port].filter((port) => port !== vm.port);
  const probes = await Promise.all(others.map((port) => dial(first, port)));
  const otherPort = probes.find(({ banner }) => banner !== undefined)?.port;
  return { ...answer, hasTunnel, otherPort };
}

type Answer = Omit<ServerFinding, 'hasTunnel' | 'otherPort'>;

function noAnswer(host: string, port: number): Answer {
  return { host, port, error: 'no answer', banner: undefined, said: '' };
}

function dial(host: string, port: number): Promise<Answer> {
  return new Promise((resolve) => {
    let said = '';
    let error: string | undefined = 'no answer';
    const socket = net.connect({ host, port });
    const finish = () => {
      clearTimeout(timer);
      socket.destroy();
      const banner = /^SSH-[^\r\n]*(?=\r?\n)/m.exec(said)?.[0];
      resolve({ host, port, error, banner, said: said.slice(0, 60) });
    };
    let timer = setTimeout(finish, connectLimitMs);
    socket.once('connect', () => {
      error = undefined;
      clearTimeout(timer);
      timer = setTimeout(finish, bannerLimitMs);
    });
    socket.on('data', (chunk: Buffer) => {
      said += chunk.toString('latin1');
      if (said.length > maxSaidLength || /^SSH-[^\n]*\n/m.test(said)) finish();
    });
    socket.once('error', (cause: NodeJS.ErrnoException) => {
      if (error !== undefined) error = cause.code ?? cause.message;
      finish();
    });
    socket.once('end', finish);
  });
}

export function judgeAddress({ vm }: VmCase, server: ServerFinding): readonly Finding[] {
  const { host, port, error, hasTunnel, otherPort } = server;
  if (error === undefined) return [ok(`${host} port ${port} answers`)];
  if (hasTunnel) {
    const what =
      host === undefined ? 'it has no address' : `${host} port ${port} cannot be reached: ${error}`;
    return [ok(`${what}; a login goes through an Instance Connect Endpoint`)];
  }
  if (host === undefined) return [notChecked('no address is known')];
  const message = `${host} port ${port} cannot be reached: ${error}`;
  if (otherPort !== undefined) {
    return [
      fail(
        `${message}; an SSH server answers on port ${otherPort}`,
        `set port = ${otherPort} for [vm.${vm.name}] in ssh.toml, then: mint-ssh ssh-config ${vm.name}`,
      ),
    ];
  }
  return [fail(message, error === 'ECONNREFUSED' ? refusedHint(vm.name) : unreachableHint(port))];
}

function refusedHint(name: string): string {
  return `nothing listens there: is the VM still booting? Another port: set port for [vm.${name}] in ssh.toml`;
}

function unreachableHint(port: number): string {
  return `does the security group of the VM allow port ${port} from your address, and is your VPN up?`;
}

/** Nothing where there was no connection: that was said already. */
export function judgeBanner({ error, banner, said }: ServerFinding): readonly Finding[] {
  if (error !== undefined) return [];
  if (banner !== undefined) return [ok(banner.slice(0, 100))];
  const what = said === '' ? 'it says nothing' : `it says ${quoted(said)}`;
  return [fail(`not an SSH server: ${what}`, 'is port in ssh.toml the port of its sshd?')];
}
