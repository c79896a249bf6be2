/** Checks that the VM's address answers with SSH. One connection each, because sshd counts those that do not log in. */
import net from 'node:net';
import { quoted } from '../platform/files.ts';
import { mintLogin, ordinaryLogin } from '../settings/usual-login.ts';
import { type Candidate, isDirect } from '../vms/candidates.ts';
import { type Finding, fail, notChecked, ok } from './check.ts';
import type { VmContext } from './context.ts';

export interface ServerFinding {
  /** The address that answered, else the first that was tried; undefined without any address. */
  readonly host: string | undefined;
  /** Whether a login may also use an Instance Connect Endpoint. */
  readonly hasTunnel: boolean;
  readonly port: number;
  /** The error of the TCP connection; undefined if it succeeded. */
  readonly error: string | undefined;
  /** The line that starts with `SSH-`; undefined if there was none. */
  readonly banner: string | undefined;
  /** The server's other text before that line. */
  readonly said: string;
  /** Another usual port of sshd that answers with SSH, if `port` does not. */
  readonly otherPort?: number | undefined;
}

/** @returns whether no address answers, and the VM has no endpoint or jump host */
export function isUnreachable({ error, hasTunnel }: ServerFinding): boolean {
  return error !== undefined && !hasTunnel;
}

const connectLimitMs = 5_000;
const bannerLimitMs = 4_000;
/** A server may send other lines first (RFC 4253 §4.2). This limits them, in bytes. */
const maxSaidLength = 8_192;

/** Dials all addresses at the same time. Only the login itself tries an endpoint or a jump host. */
export async function askServer({ vm }: VmContext, candidates: readonly Candidate[]): Promise<ServerFinding> {
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

/** @returns findings about the VM's address and port */
export function judgeAddress({ vm }: VmContext, server: ServerFinding): readonly Finding[] {
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
  return `the VM may still be booting; if its sshd has another port, set port for [vm.${name}] in ssh.toml`;
}

function unreachableHint(port: number): string {
  return `check that the VM's security group allows port ${port} from your address, and that your VPN is up`;
}

/** No finding without a connection: `judgeAddress` reports that. */
export function judgeBanner({ error, banner, said }: ServerFinding): readonly Finding[] {
  if (error !== undefined) return [];
  if (banner !== undefined) return [ok(banner.slice(0, 100))];
  const what = said === '' ? 'it sent nothing' : `it sent ${quoted(said)}`;
  return [fail(`not an SSH server: ${what}`, 'check that port in ssh.toml is the port of its sshd')];
}
