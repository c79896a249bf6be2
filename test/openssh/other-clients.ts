/** Clients that are not OpenSSH, each through `mint-ssh proxy` and with the VM's agent socket. */
import { spawn } from 'node:child_process';
import { keyPath } from '../agent/clients.ts';
import type { Result } from './child.ts';
import { type Impostor, listen } from './impostor.ts';
import { loginUser, mintProgram, type World } from './world.ts';

/** A port of loopback, each of whose connections goes through a proxy to the VM. */
export function startDoor(world: World, vm: string): Promise<Impostor & { readonly stderr: () => string }> {
  let stderr = '';
  return listen((socket) => {
    const proxy = spawn(mintProgram, ['proxy', vm, String(world.vm(vm).port), loginUser], {
      env: world.environment,
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    proxy.stdin.on('error', () => {});
    proxy.stderr.on('data', (text: Buffer) => {
      stderr += text.toString();
    });
    // A client that resets its connection ends the proxy as well: `pipe` passes only a proper end on.
    socket
      .on('error', () => socket.destroy())
      .on('close', () => {
        proxy.stdin.end();
        proxy.stdout.destroy();
      });
    socket.pipe(proxy.stdin);
    proxy.stdout.pipe(socket);
  }).then((door) => Object.assign(door, { stderr: () => stderr }));
}

/**
 * curl with libssh2, which asks for ecdsa host keys first: lists a directory of the VM.
 * @returns curl's result, with what the proxy said as stderr
 */
export async function curl(world: World, vm: string): Promise<Result> {
  const door = await startDoor(world, vm);
  try {
    const url = `sftp://127.0.0.1:${door.port}/`;
    const words = ['-sS', '--insecure', '--max-time', '30', '--user', `${loginUser}:`, url];
    const result = await world.run('curl', words, { env: { SSH_AUTH_SOCK: keyPath(world, vm) } });
    return { ...result, stderr: door.stderr() + result.stderr };
  } finally {
    await door.close();
  }
}

/**
 * ssh without our block's order of host key types and without UpdateHostKeys, which is how a client of that type looks.
 * @param type such as `ecdsa-sha2-nistp256`
 */
export function sshAsking(world: World, vm: string, type: string): Promise<Result> {
  return world.ssh('-o', `HostKeyAlgorithms=${type}`, '-o', 'UpdateHostKeys=no', vm, 'echo in');
}
