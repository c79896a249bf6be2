import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Duplex } from 'node:stream';
import { after, before, describe, test } from 'node:test';
import ssh2, { type AnyAuthMethod, type ClientChannel, type ParsedKey } from 'ssh2';
import { keyPath } from '../agent/clients.ts';
import { loginUser, makeWorld, mintProgram, type World, waitFor } from '../openssh/world.ts';
import { assertBound } from './bound.ts';

const { Client, OpenSSHAgent } = ssh2;

describe('ssh2, the library of Node programs and editors', { timeout: 300_000 }, () => {
  let world: World;
  before(async () => {
    world = await makeWorld({ vms: { plain: {}, remote: {} } });
  });
  after(() => world.end());

  /** A program and its arguments, without a shell, as a stream. */
  const started = (program: string, args: readonly string[]): Duplex => {
    const child = spawn(program, args, { env: world.environment, stdio: ['pipe', 'pipe', 'ignore'] });
    return Duplex.from({ writable: child.stdin, readable: child.stdout });
  };
  const logsIn = async (sock: Duplex, agent: string): Promise<string> => {
    const client = new Client();
    await new Promise<void>((resolve, reject) => {
      client.once('ready', resolve).once('error', reject).connect({ sock, username: loginUser, agent });
    });
    const channel = await new Promise<ClientChannel>((resolve, reject) => {
      client.exec('echo in', (error, stream) => (error === undefined ? resolve(stream) : reject(error)));
    });
    const output = Buffer.concat(await channel.toArray()).toString();
    client.end();
    return output;
  };

  test('`sock` is the proxy, `agent` the VM’s socket', async () => {
    assert.equal(await logsIn(started(mintProgram, ['proxy', 'plain']), keyPath(world, 'plain')), 'in\n');
    await assertBound(world, 'plain');
  });

  test('open-remote-ssh: reads the config itself, lists the agent’s keys first, and only then starts the proxy', async () => {
    await world.mint('agent', 'stop');
    // The agent of `mint-ssh agent install`, which has no AWS settings.
    const agent = world.start(
      'env',
      ['-i', `HOME=${world.home}`, mintProgram, 'agent', '--stay', '--config-dir', world.configDir],
      { timeout: 50_000 },
    );
    await agent.until(/the agent listens/, 20_000);

    const block = hostBlock(readFileSync(join(world.configDir, 'ssh_config'), 'utf8'), 'remote');
    // It expands only a `~`, and only at the front.
    const socket = unquoted(block.get('identityagent') ?? '').replace(/^~/, world.home);
    await waitFor('the VM’s socket', 15_000, () => existsSync(socket));
    const keys = await new Promise<readonly ParsedKey[]>((resolve, reject) => {
      new OpenSSHAgent(socket).getIdentities((error, found) =>
        error ? reject(error) : resolve((found ?? []) as ParsedKey[]),
      );
    });
    assert.equal(keys.length, 1);
    assert.equal(block.get('identitiesonly'), 'no');

    const [program = '', ...words] = (block.get('proxycommand') ?? '').match(/"[^"]*"|\S+/g) ?? [];
    const replaced = words.map((word) =>
      unquoted(word)
        .replace('%h', 'remote')
        .replace('%n', 'remote')
        .replace('%p', block.get('port') ?? '')
        .replace('%r', block.get('user') ?? ''),
    );
    // `none` first, then the key that it listed before, and no key that the agent lists later.
    const methods: AnyAuthMethod[] = [
      { type: 'none', username: loginUser },
      { type: 'agent', username: loginUser, agent: new OneKeyAgent(socket, keys) },
    ];
    const client = new Client();
    await new Promise<void>((resolve, reject) => {
      client
        .once('ready', resolve)
        .once('error', reject)
        .connect({
          sock: started(unquoted(program), replaced),
          username: loginUser,
          readyTimeout: 60_000,
          authHandler: (_left, _partial, next) => next(methods.shift() ?? 'password'),
        });
    });
    client.end();
    const pushed = world.cloud.pushes.at(-1);
    assert.equal(pushed?.key.split(' ')[1], keys[0]?.getPublicSSH().toString('base64'));
    await assertBound(world, 'remote');
    await world.mint('agent', 'stop');
    await agent.done;
  });
});

/** Lists what it is given; signs as the agent behind it does. */
class OneKeyAgent extends OpenSSHAgent {
  readonly #keys: readonly ParsedKey[];

  constructor(socket: string, keys: readonly ParsedKey[]) {
    super(socket);
    this.#keys = keys;
  }

  override getIdentities(give: (error: Error | undefined, keys?: ParsedKey[]) => void): void {
    give(undefined, [...this.#keys]);
  }
}

/** The way such clients read a config: Host lines with literal names, the first value of each keyword. */
function hostBlock(text: string, host: string): Map<string, string> {
  const found = new Map<string, string>();
  let isOurs = false;
  for (const line of text.split('\n')) {
    const [, keyword = '', value = ''] = /^\s*(\w+)\s+(.*)$/.exec(line) ?? [];
    if (keyword.toLowerCase() === 'host') isOurs = value.split(' ').includes(host);
    else if (isOurs && !found.has(keyword.toLowerCase())) found.set(keyword.toLowerCase(), value);
  }
  return found;
}

function unquoted(word: string): string {
  return word.replace(/^"(.*)"$/, '$1');
}
