/** Sessions of ssh on a VM: by whatever lets in there, or by one kept key alone. */
import type { ChildProcess } from 'node:child_process';
import { dirname } from 'node:path';
import { printable } from '../cli/terminal.ts';
import type { SigningKey } from '../ssh/key-signature.ts';
import { type Login, withLoginConfig } from '../ssh-config/login-config.ts';
import { sshArguments, sshStatus, startProgram } from '../ssh-config/ssh-child.ts';
import { startKeyAgent } from './key-agent.ts';
import type { Connect } from './remote-file.ts';

/** Milliseconds until a session has come about or has failed: a VM may have to be started first. */
const sessionMilliseconds = 120_000;
/** Bytes of what ssh says that are kept. */
const longestSaid = 16_384;

/** What a user's own config may add to every session has no place in ours. */
const plain = ['-T', '-a', '-x', '-o', 'RemoteCommand=none', '-o', 'ClearAllForwardings=yes'];

/** The VM, as it is reached for the time of one `withKeySessions`; one session at a time. */
export interface KeySessions {
  /** Logs in with this key and no other. */
  readonly by: (key: SigningKey) => Connect;
  /** Logs in, and says whether the VM accepted this key. */
  readonly proves: (key: SigningKey) => Promise<boolean>;
  /** Tries a login. `refused` only where sshd was offered the key, and refused it; `unknown` for any other failure. */
  readonly tries: (key: SigningKey) => Promise<'accepted' | 'refused' | 'unknown'>;
  /** Whether the last session came as far as to want the key. */
  readonly wasAsked: boolean;
  /** What ssh, or our proxy, has said last, for a message. */
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
 * The same with kept keys: the host is found and its key checked as for every login, and the key is offered by an
 * agent that lives as long as this. What ssh says is not shown: it is in `said`.
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
        said = (said + text).slice(-longestSaid);
      });
      const limit = setTimeout(() => child.kill('SIGKILL'), sessionMilliseconds);
      status = sshStatus(child).finally(() => clearTimeout(limit));
      status.catch(() => {});
      return child;
    };
    const tries: KeySessions['tries'] = async (key) => {
      const child = connect(key, 'true');
      child.stdin?.on('error', () => {}).end();
      child.stdout?.resume();
      // 255 is ssh's own status; anything below 128 is that of a session on the VM.
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

/** No other key, agent or running connection may let in: the command line goes before every config. */
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
  return printable((ours ?? last).trim().slice(0, 200)) || 'the session ended without a word';
}
