/** Runs ssh sessions on a VM: with the VM's usual credentials, or with one managed key only. */
import type { ChildProcess } from 'node:child_process';
import { dirname } from 'node:path';
import { printable } from '../cli/terminal.ts';
import type { SigningKey } from '../ssh/key-signature.ts';
import { type Login, withLoginConfig } from '../ssh-config/login-config.ts';
import { sshArguments, sshStatus, startProgram } from '../ssh-config/ssh-child.ts';
import { startKeyAgent } from './key-agent.ts';
import type { Connect } from './remote-file.ts';

/** The time limit for opening a session: a VM may have to be started first. */
const sessionTimeoutMs = 120_000;
/** How many bytes of ssh's stderr are kept. */
const maxSaidBytes = 16_384;

/** Options that turn off what the user's config may add to every session. */
const plain = ['-T', '-a', '-x', '-o', 'RemoteCommand=none', '-o', 'ClearAllForwardings=yes'];

/** Sessions on the VM during one `withKeySessions`, one at a time. */
export interface KeySessions {
  /** Logs in with this key and no other. */
  readonly by: (key: SigningKey) => Connect;
  /** Logs in, and returns whether the VM accepted this key. */
  readonly proves: (key: SigningKey) => Promise<boolean>;
  /** Tries a login. `refused` only if sshd was offered the key and refused it; `unknown` for any other failure. */
  readonly tries: (key: SigningKey) => Promise<'accepted' | 'refused' | 'unknown'>;
  /** Whether the last session got far enough to ask for the key. */
  readonly wasAsked: boolean;
  /** The last line of ssh or the proxy, for a message. */
  readonly said: string;
}

/** Logs in as `ssh VM` does. Calls `action` with what `changeRemoteFile` takes. */
export function withSessions<T>(login: Login, action: (connect: Connect) => Promise<T>): Promise<T> {
  return withLoginConfig(login, (file) =>
    action((command) => {
      const words = sshArguments(file, plain, login.vm.name, command);
      const child = startProgram('ssh', words, { stdio: ['pipe', 'pipe', 'inherit'] });
      sshStatus(child).catch(() => {});
      return child;
    }),
  );
}

/**
 * Calls `action` with sessions that log in with managed keys. The proxy resolves the host and checks its host key as for
 * every login; a temporary agent offers the key. The output of ssh is not shown; it is in `said`.
 */
export function withKeySessions<T>(login: Login, action: (vm: KeySessions) => Promise<T>): Promise<T> {
  return withLoginConfig(login, async (file) => {
    const agent = await startKeyAgent(dirname(file));
    let said = '';
    let status: Promise<number> = Promise.resolve(0);
    const connect = (key: SigningKey, command: string): ChildProcess => {
      agent.hold(key);
      said = '';
      const words = sshArguments(file, [...plain, ...alone(agent.socket)], login.vm.name, command);
      const child = startProgram('ssh', words, { stdio: ['pipe', 'pipe', 'pipe'] });
      child.stderr?.setEncoding('utf8').on('data', (text: string) => {
        said = (said + text).slice(-maxSaidBytes);
      });
      const limit = setTimeout(() => child.kill('SIGKILL'), sessionTimeoutMs);
      status = sshStatus(child).finally(() => clearTimeout(limit));
      status.catch(() => {});
      return child;
    };
    const tries: KeySessions['tries'] = async (key) => {
      const child = connect(key, 'true');
      child.stdin?.on('error', () => {}).end();
      child.stdout?.resume();
      // 255 is ssh's own status. A status below 128 comes from a session on the VM.
      if ((await status) < 128) return agent.hasSigned ? 'accepted' : 'unknown';
      const isRefused = agent.wasAsked && !agent.hasSigned && /^.*Permission denied \(/m.test(said);
      return isRefused ? 'refused' : 'unknown';
    };
    try {
      return await action({
        by: (key) => (command) => connect(key, command),
        proves: async (key) => (await tries(key)) === 'accepted',
        tries,
        get wasAsked() {
          return agent.wasAsked;
        },
        get said() {
          return lastWord(said);
        },
      });
    } finally {
      agent.close();
    }
  });
}

/** Options that exclude every other key, agent and shared connection. The command line overrides every config file. */
function alone(socket: string): string[] {
  const lines = [
    `IdentityAgent="${socket.replaceAll('%', '%%')}"`,
    'IdentityFile=none',
    'IdentitiesOnly=no',
    'PKCS11Provider=none',
    'PubkeyAuthentication=yes',
    'PubkeyAcceptedKeyTypes=+ssh-ed25519,rsa-sha2-256,rsa-sha2-512',
    'PreferredAuthentications=publickey',
    'ControlMaster=no',
    'ControlPath=none',
    'BatchMode=yes',
  ];
  return lines.flatMap((line) => ['-o', line]);
}

function lastWord(said: string): string {
  const ours = [...said.matchAll(/^mint-ssh: error: (.*)$/gm)].at(-1)?.[1];
  const last = said.trimEnd().split('\n').at(-1) ?? '';
  return printable((ours ?? last).trim().slice(0, 200)) || 'the session ended without a message';
}
