/** `access = "injected"` with an `identity` of any type: nothing is pushed, and the user's own agent signs. */
import assert from 'node:assert/strict';
import { createHash, generateKeyPairSync, sign } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import {
  AgentFrames,
  extensionFailureReply,
  failureReply,
  identitiesAnswer,
  parseAgentRequest,
  signResponse,
} from '../../src/ssh/agent-messages.ts';
import { encodeByte, encodeString, encodeUint32 } from '../../src/ssh/wire.ts';
import { loginUser, makeWorld, type World, waitFor } from './world.ts';

/** An agent that holds one security key, as in PROTOCOL.u2f, and needs no touch. */
function securityKeyAgent(socket: string): Promise<{ readonly line: string; readonly server: net.Server }> {
  const type = 'sk-ssh-ed25519@openssh.com';
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  const raw = publicKey.export({ type: 'spki', format: 'der' }).subarray(-32);
  const blob = Buffer.concat([encodeString(type), encodeString(raw), encodeString('ssh:')]);
  const sha256 = (data: Buffer | string) => createHash('sha256').update(data).digest();
  let counter = 0;
  const signed = (data: Buffer): Buffer => {
    counter += 1;
    const end = Buffer.concat([encodeByte(1), encodeUint32(counter)]);
    const signature = sign(null, Buffer.concat([sha256('ssh:'), end, sha256(data)]), privateKey);
    return Buffer.concat([encodeString(type), encodeString(signature), end]);
  };
  const answer = (message: Buffer): Buffer => {
    const request = parseAgentRequest(message);
    if (request.type === 'request-identities') return identitiesAnswer([{ keyBlob: blob, comment: 'token' }]);
    if (request.type === 'sign-request') return signResponse(signed(request.data));
    return request.type === 'extension' ? extensionFailureReply() : failureReply();
  };
  const server = net.createServer((client) => {
    const frames = new AgentFrames();
    client.on('error', () => client.destroy());
    client.on('data', (chunk) => {
      for (const message of frames.push(chunk)) client.write(answer(message));
    });
  });
  return new Promise((resolve) => {
    server.listen(socket, () => resolve({ line: `${type} ${blob.toString('base64')} token`, server }));
  });
}

describe('identity with access = "injected"', { timeout: 120_000 }, () => {
  let world: World;
  let server: net.Server | undefined;
  const at = (name: string) => join(world.directory, name);

  before(async () => {
    world = await makeWorld();
    const agent = await securityKeyAgent(at('token.sock'));
    ({ server } = agent);
    writeFileSync(at('token.pub'), `${agent.line}\n`);
    const made = await world.run('ssh-keygen', ['-q', '-t', 'ecdsa', '-N', '', '-f', at('ecdsa')]);
    assert.equal(made.status, 0, made.stderr);
    const { stdout: ecdsa } = await world.run('cat', [at('ecdsa.pub')]);
    const authorized = join(world.directory, 'keys', world.vm('dev').instance);
    mkdirSync(authorized, { recursive: true });
    writeFileSync(join(authorized, loginUser), `${agent.line}\n${ecdsa}`);
    const vm = (name: string, identity: string, more = 'access = "injected"\n') =>
      `[vm.${name}]\nhost = "127.0.0.1"\nport = ${world.vm('dev').port}\nuser = "${loginUser}"\nidentity = "${identity}"\n${more}`;
    const pushed = `instance = "${world.vm('dev').instance}"\n`;
    await world.settings([
      vm('token', at('token.pub')),
      vm('ecdsa', at('ecdsa.pub')),
      vm('pushed', at('token.pub'), pushed),
      vm('compared', at('token.pub'), `access = "injected"\n${pushed}`),
    ]);
  });

  after(async () => {
    server?.close();
    await world.end();
  });

  const noAws = { AWS_ACCESS_KEY_ID: undefined, AWS_SECRET_ACCESS_KEY: undefined };

  test('lets a security key sign through the user’s agent', async () => {
    const env = { ...noAws, SSH_AUTH_SOCK: at('token.sock') };
    const { status, stdout, stderr } = await world.startSsh(['token', 'echo in'], { env }).done;
    assert.deepEqual([status, stdout], [0, 'in\n'], stderr);
    assert.equal(world.cloud.pushes.length, 0);
    await waitFor('the pin', 15_000, () => /^token=SHA256:/m.test(world.file('known_hosts') ?? ''));
  });

  test('a first key is compared with the console again, with credentials that only a login can resolve', async () => {
    const { AWS_ACCESS_KEY_ID: id, AWS_SECRET_ACCESS_KEY: secret } = world.environment;
    const keys = JSON.stringify({ Version: 1, AccessKeyId: id, SecretAccessKey: secret });
    writeFileSync(at('keys.json'), keys);
    writeFileSync(at('aws-config'), `[profile process]\ncredential_process = cat ${at('keys.json')}\n`);
    const env = {
      ...noAws,
      AWS_CONFIG_FILE: at('aws-config'),
      AWS_PROFILE: 'process',
      SSH_AUTH_SOCK: at('token.sock'),
    };
    const login = async () => {
      const { status, stderr } = await world.startSsh(['compared', 'true'], { env }).done;
      assert.equal(status, 0, stderr);
    };
    await login();
    await world.mint('agent', 'stop');
    await waitFor('the agent to end', 15_000, () => world.agents().length === 0);
    const asked = () =>
      world.cloud.requests.filter(({ operation }) => operation === 'GetConsoleOutput').length;
    const before = asked();
    await login();
    await waitFor('the console to be asked', 15_000, () => asked() > before);
    assert.equal(world.cloud.pushes.length, 0);
  });

  test('lets an ECDSA key sign, from its file', async () => {
    const { status, stdout, stderr } = await world.startSsh(['ecdsa', 'echo in'], { env: noAws }).done;
    assert.deepEqual([status, stdout], [0, 'in\n'], stderr);
    assert.equal(world.cloud.pushes.length, 0);
  });

  test('if the key has to be pushed, the error still names what Instance Connect accepts', async () => {
    const env = { SSH_AUTH_SOCK: at('token.sock') };
    const { status, stderr } = await world.startSsh(['pushed', 'true'], { env }).done;
    assert.equal(status, 255);
    assert.match(stderr, /holds a key of type "sk-ssh-ed25519@openssh\.com".* \(key-invalid\)/);
    assert.match(stderr, /EC2 Instance Connect accepts Ed25519 and RSA keys/);
  });
});
