/** Why nobody was reached, in words, and what may help. */

/** What the system, TLS or a proxy said. */
export function reasonOf(error: NodeJS.ErrnoException): string {
  const code = error.code ?? '';
  if (isCertificate(code)) return `its certificate is not one that is trusted here (${code})`;
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
      return 'the proxy did not let the connection through';
    default:
      return code === '' ? error.message : code;
  }
}

export function isCertificate(code: string): boolean {
  return /^(?:CERT_|(?:DEPTH_ZERO_)?SELF_SIGNED_CERT|UNABLE_TO_|ERR_TLS_|ERR_SSL_|EPROTO)/.test(code);
}

/** Where an address was dialled. */
export function dialHint(code: string | undefined): string {
  switch (code) {
    case 'ECONNREFUSED':
      return 'nothing listens there: is the VM still booting, and is `port` in ssh.toml the one sshd listens on?';
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return 'check `host` in ssh.toml, and this machine’s name service';
    case 'EMFILE':
    case 'ENFILE':
      return 'this shell lets a program open too few files: `ulimit -n 1024`';
    default:
      return 'is the VM running, does its security group let this machine in, and is `host` in ssh.toml its address?';
  }
}
