/** Keys from the machine's ssh-keygen, and signatures from its ssh-agent. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { AgentFrames } from '../../src/ssh/agent-messages.ts';
import { encodeByte, encodeString, encodeUint32, WireReader } from '../../src/ssh/wire.ts';

export function temporaryDirectory(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'mint-ssh-test-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** Makes a key file and returns its path; `arguments_` such as `-t rsa -b 2048`. */
export function generateKey(directory: string, arguments_: string): string {
  const path = join(directory, arguments_.replace(/[^a-z0-9]/g, ''));
  execFileSync('ssh-keygen', ['-q', '-N', '', '-C', 'test', '-f', path, ...arguments_.split(' ')]);
  return path;
}

export function readBlob(path: string): Buffer {
  return Buffer.from(readFileSync(`${path}.pub`, 'utf8').split(' ')[1] ?? '', 'base64');
}

/** Runs an ssh-agent with this key, and returns its signature. */
export async function signWithAgent(
  t: TestContext,
  path: string,
): Promise<(data: Buffer, flags?: number) => Promise<Buffer>> {
  const socketPath = `${path}.agent`;
  const agent = spawn('ssh-agent', ['-D', '-a', socketPath], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => agent.kill());
  await once(agent.stdout, 'data');
  execFileSync('ssh-add', ['-q', path], { env: { ...process.env, SSH_AUTH_SOCK: socketPath } });
  return async (data, flags = 0) => {
    const socket = connect(socketPath);
    const request = [encodeByte(13), encodeString(readBlob(path)), encodeString(data), encodeUint32(flags)];
    socket.write(encodeString(Buffer.concat(request)));
    const frames = new AgentFrames();
    for await (const chunk of socket) {
      const [answer] = frames.push(chunk);
      if (answer === undefined) continue;
      const reader = new WireReader(answer);
      if (reader.byte() !== 14) break;
      return reader.string();
    }
    throw new Error('ssh-agent did not sign');
  };
}
