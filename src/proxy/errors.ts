/** What can go wrong on the main path, and the words for it. */
import type { FailureReply, RefusalWords } from '../agent/control/protocol.ts';
import { errorLines, printable } from '../cli/terminal.ts';
import { MintError } from '../errors.ts';

/** An error that the agent sent, with a warning to show before it. */
export class AgentRefusal extends MintError {
  readonly warning: string | undefined;

  constructor({ code, message, hint, unsafe, warning }: FailureReply) {
    super(code, message, { hint, unsafe });
    this.warning = warning;
  }
}

/** The SSH client went away before the connection was established, so there is no one to report an error to. */
export class ClientLeft extends Error {}

/** @returns the error for a name where there is neither ssh.toml nor a Host block */
export function notConfigured(vm: string, sshToml: string): MintError {
  return new MintError('vm-not-found', `${vm} is not configured: there is no ${sshToml} and no Host block`, {
    hint: `mint-ssh ssh-config ${vm}`,
  });
}

/** @returns the error of a dial that was given up */
export function timedOut(): NodeJS.ErrnoException {
  return Object.assign(new Error('no answer in time'), { code: 'ETIMEDOUT' });
}

/** @param notice the last line that the server sent before its `SSH-` line: foreign text */
export function closedByServer(notice: string | undefined): MintError {
  const said = notice === undefined ? '' : `, saying ${JSON.stringify(printable(notice).slice(0, 100))}`;
  return new MintError('not-ssh', `the server closed the connection in the key exchange${said}`, {
    hint: 'sshd may be starting, full (MaxStartups) or blocking this address: wait a moment and try again',
  });
}

/** @param what what the server did not do, in words */
export function serverTooSlow(what: string, timeoutMs: number): MintError {
  return new MintError('not-ssh', `${what} (waited ${Math.round(timeoutMs / 1000)} s)`, {
    hint: 'check that sshd listens on that port: `ssh-keyscan -p PORT HOST`',
  });
}

/** @returns the error for an address that could not be reached */
export function cannotReach(vm: string, host: string, port: number, cause: NodeJS.ErrnoException): MintError {
  return new MintError('dial-failed', `cannot reach ${vm} at ${host} port ${port}: ${reasonOf(cause)}`, {
    hint: dialHint(cause.code),
    cause,
  });
}

/**
 * @param failures the error of each candidate, in the order of the candidates; at least one
 * @returns the error for all of them, with the hint of the first candidate: the preferred one
 */
export function noneReached(vm: string, failures: readonly unknown[]): unknown {
  const [first, ...others] = failures;
  if (others.length === 0 || !(first instanceof MintError)) return first;
  const reasons = failures.map((failure) => withoutPrefix(vm, failure));
  return new MintError('dial-failed', `cannot reach ${vm}: ${[...new Set(reasons)].join('; ')}`, {
    hint: first.hint,
    cause: first,
  });
}

function withoutPrefix(vm: string, failure: unknown): string {
  const message = failure instanceof Error ? failure.message : String(failure);
  return message.replace(`cannot reach ${vm}: `, '').replace(`cannot reach ${vm} `, '');
}

/** @returns in words what the system, TLS or an HTTP proxy said */
export function reasonOf(error: NodeJS.ErrnoException): string {
  const code = error.code ?? '';
  if (isCertificateError(code)) return `its certificate is not one that is trusted here (${code})`;
  switch (code) {
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
    case 'ECONNRESET':
      return 'the connection was reset';
    case 'EMFILE':
    case 'ENFILE':
      return 'too many open files here';
    case 'ERR_PROXY_TUNNEL':
      return 'the proxy refused the connection';
    default:
      return code === '' ? error.message : code;
  }
}

/** Whether an error code of Node or OpenSSL is about a TLS certificate or the TLS protocol. */
export function isCertificateError(code: string): boolean {
  return /^(?:CERT_|(?:DEPTH_ZERO_)?SELF_SIGNED_CERT|UNABLE_TO_|ERR_TLS_|ERR_SSL_|EPROTO)/.test(code);
}

function dialHint(code: string | undefined): string {
  switch (code) {
    case 'ECONNREFUSED':
      return 'the VM may still be booting; `port` in ssh.toml sets another port';
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return 'check `host` in ssh.toml, and the name service of this machine';
    case 'EMFILE':
    case 'ENFILE':
      return 'the limit of open files is too low for this shell: `ulimit -n 1024`';
    default:
      return 'check that the VM runs, that its security group allows this machine, and `host` in ssh.toml';
  }
}

/** @returns the error for an agent that the user has stopped during the login */
export function agentStopped(): MintError {
  return new MintError('agent-unavailable', 'the agent was stopped before the login was complete');
}

/**
 * @param log the path of the agent's log
 * @returns the error for an agent that does not reply in time
 */
export function agentSilent(log: string): MintError {
  return new MintError('agent-unavailable', 'the agent does not answer', {
    hint: `run: mint-ssh agent stop; the next connection starts a new agent. The log is ${log}`,
  });
}

/** The lines that tell the user that the VM refused the key, ready before it does. The user is told once. */
export class RefusalNotice {
  #lines: string | undefined;
  #isDropped = false;
  #isTold = false;

  /** Formats the words now: that takes longer than a shell needs to print its prompt. */
  prepare(words: RefusalWords | undefined): void {
    this.#lines = words && errorLines(new MintError(words.code, words.message, { hint: words.hint }));
  }

  /** The login has succeeded. */
  drop(): void {
    this.#lines = undefined;
    this.#isDropped = true;
  }

  /** @returns the lines for stderr, unless the login has succeeded or the user has been told */
  take(): string | undefined {
    if (this.#isDropped || this.#lines === undefined) return undefined;
    return this.claim() ? this.#lines : undefined;
  }

  /** @returns whether the caller is the first to tell the user of a refusal */
  claim(): boolean {
    const isFirst = !this.#isTold;
    this.#isTold = true;
    return isFirst;
  }
}
