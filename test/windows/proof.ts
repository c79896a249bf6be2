/** The Windows program, run by Wine against a real sshd and the stand-in for AWS: see prove.sh, which starts this. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { build } from 'esbuild';
import { makeBlob, makeExecutable } from '../../build/executable.ts';
import { pipeName } from '../../src/platform/pipe-names.ts';
import { type Cloud, cloudEnvironment, demoRegion, startCloud } from '../cloud/cloud.ts';
import { type Child, type Result, waitFor } from '../openssh/child.ts';
import { loginUser, type Sshd, startSshd } from '../openssh/sshd.ts';
import { startWine, type Wine } from './wine.ts';

const [root, program, node] = ['ROOT', 'PROGRAM', 'NODE'].map(
  (name) => process.env[`MINT_WINE_${name}`] ?? '',
) as [string, string, string];
const directory = mkdtempSync(join(tmpdir(), 'mint-windows-'));
const instance = 'i-0d3f0000000000001';

interface LoginOptions {
  readonly words?: readonly string[];
  /** A file, as Windows has it. */
  readonly input?: string;
}

/**
 * A stand-in for ssh.exe: prints its version, and nothing for `-G`, which ssh-config takes for a
 * config that is in no one's way.
 */
async function writeSsh(output: string): Promise<void> {
  const folder = join(directory, 'ssh');
  mkdirSync(folder);
  const script =
    "if (process.argv.includes('-V')) console.error('OpenSSH_for_Windows_9.5p1, LibreSSL 3.8.2');";
  writeFileSync(join(folder, 'main.cjs'), script);
  const bundled = { folder, main: 'main.cjs', assets: [], packages: [], compiled: {} };
  const blob = makeBlob(bundled, { node: process.execPath, codeCache: false });
  await makeExecutable(output, { node, blob, strip: undefined, isSigned: true });
}

describe('mint-ssh.exe', { timeout: 600_000 }, () => {
  let cloud: Cloud;
  let sshd: Sshd;
  let wine: Wine;
  let config: string;

  before(async () => {
    const keys = join(directory, 'keys');
    cloud = await startCloud({ keysDirectory: keys });
    cloud.instances.set(instance, {
      id: instance,
      region: demoRegion,
      state: 'running',
      address: '127.0.0.1',
    });
    sshd = await startSshd({ directory: join(directory, 'vm'), authorizedKeys: join(keys, instance) });
    wine = await startWine(root, cloudEnvironment(cloud, '/nowhere'));
    copyFileSync(program, wine.here('mint-ssh.exe'));
    copyFileSync(node, wine.here('node.exe'));
    await build({
      entryPoints: [join(import.meta.dirname, 'client.ts')],
      outfile: wine.here('client.cjs'),
      bundle: true,
      platform: 'node',
      format: 'cjs',
      external: ['cpu-features', '*.node'],
      logLevel: 'error',
    });
    await writeSsh(wine.here('bin/ssh.exe'));
    config = join(wine.profile, '.config/mint');
    mkdirSync(config, { recursive: true, mode: 0o700 });
    writeFileSync(
      join(config, 'ssh.toml'),
      `[vm.dev]\nhost = "127.0.0.1"\nport = ${sshd.port}\ninstance = "${instance}"\nuser = "${loginUser}"\n`,
    );
  });

  after(async () => {
    await mint('agent', 'stop');
    await wine.end();
    await sshd.stop({ sessions: true });
    await cloud.close();
    rmSync(directory, { recursive: true, force: true });
  });

  const mint = (...words: string[]): Promise<Result> =>
    wine.start(wine.there('mint-ssh.exe'), words, { timeout: 60_000 }).done;
  const run = () => join(config, 'run');
  /** Read as it is: modes of Wine's files mean nothing. */
  const pipe = (...words: string[]): string =>
    pipeName(Buffer.from(readFileSync(join(run(), 'pipes'), 'utf8').trim(), 'hex'), ...words);
  /** The value of a line of the blocks that ssh-config wrote. */
  const written = (keyword: string): string => {
    const text = readFileSync(join(config, 'ssh_config'), 'utf8');
    return new RegExp(`^    ${keyword} (.*)$`, 'm').exec(text)?.[1] ?? assert.fail(text);
  };
  const order = (command: string, words: readonly string[], input?: string): readonly string[] => {
    const expanded = written('ProxyCommand').replace('%p', String(sshd.port)).replace('%r', loginUser);
    const proxy = {
      // As ssh has it: the whole command line, which no shell takes apart.
      proxyCommand: expanded.replace(/ proxy /, ` proxy ${words.join(' ')} `),
      user: loginUser,
      agent: written('IdentityAgent').slice(1, -1),
      command,
      input,
    };
    return [wine.there('client.cjs'), JSON.stringify(proxy)];
  };
  const login = (command: string, { words = [], input }: LoginOptions = {}): Child =>
    wine.start(wine.there('node.exe'), order(command, words, input), { timeout: 60_000 });
  /** What a console shows while somebody logs in at it and, once there is a question, types. */
  const onConsole = async (command: string, typed: string): Promise<string> => {
    const child = wine.startOnConsole(wine.there('node.exe'), order(command, []));
    await waitFor('the question', 30_000, () => child.stdout.includes('continue connecting'));
    // What comes within its first moments was typed before it.
    await delay(1000);
    child.stdin.write(typed);
    const { stdout } = await child.done;
    return stdout;
  };

  test('says its version, and that no agent runs', async () => {
    assert.match((await mint('--version')).stdout, /^mint-ssh \d/);
    const status = await mint('agent', 'status');
    assert.equal(status.status, 1);
    assert.match(status.stderr, /no agent runs/);
    assert.ok(!existsSync(run()), 'a look makes nothing');
  });

  test('ssh-config writes the blocks, and one Include into the profile, in the form that ssh takes', async () => {
    const { status, stderr } = await mint('ssh-config', '--yes');
    assert.equal(status, 0, stderr);
    assert.match(stderr, /ready: ssh dev/);
    const include = readFileSync(join(wine.profile, '.ssh/config'), 'utf8');
    assert.match(include, /^Include "C:\/users\/root\/\.config\/mint\/ssh_config"$/m);
    assert.equal(written('ProxyCommand'), 'Z:/wine/mint-ssh.exe proxy dev %p %r');
    assert.equal(written('IdentityAgent'), `"${pipe('agent', 'dev').replaceAll('\\', '/')}"`);
    assert.equal(written('UserKnownHostsFile'), '"C:/users/root/.config/mint/hosts/dev.known_hosts"');
    assert.equal((await mint('ssh-config', '--yes')).stderr.includes('nothing to do'), true);
  });

  test('a first login pins the host key and runs the command', async () => {
    const { status, stdout, stderr } = await login('echo hello').done;
    assert.equal(`${stdout.trim()} ${status}`, 'hello 0', stderr);
    assert.ok(readFileSync(join(config, 'known_hosts'), 'utf8').includes(`dev=${sshd.hostKey.fingerprint}`));
    assert.equal(cloud.pushes.length, 1);
  });

  test('a second login needs no push, and says how fast it was', async () => {
    const { status, stderr } = await login('true', { words: ['--timing'] }).done;
    assert.equal(status, 0, stderr);
    assert.match(stderr, /key was warm/);
    assert.equal(cloud.pushes.length, 1);
  });

  test('ten logins at once share one agent', async () => {
    const logins = Array.from({ length: 10 }, (_, index) => login(`echo ${index}`).done);
    const outcomes = await Promise.all(logins);
    assert.deepEqual(
      outcomes.map(({ stdout }) => stdout.trim()),
      outcomes.map((_, index) => String(index)),
      outcomes.map(({ stderr }) => stderr).join(''),
    );
    const { stdout, status } = await mint('agent', 'status', '--json');
    assert.equal(status, 0);
    assert.equal((JSON.parse(stdout) as { vms: unknown[] }).vms.length, 1);
  });

  test('eight megabytes each way arrive as they were sent', async () => {
    const bytes = randomBytes(8 << 20);
    writeFileSync(wine.here('bytes'), bytes);
    const sum = createHash('sha256').update(bytes).digest('hex');
    const up = await login('sha256sum', { input: wine.there('bytes') }).done;
    assert.equal(up.stdout.slice(0, 64), sum, up.stderr);
    const down = await login(`cat ${JSON.stringify(wine.here('bytes'))} | base64 -w0`).done;
    assert.equal(down.status, 0, down.stderr);
    assert.ok(Buffer.from(down.stdout, 'base64').equals(bytes));
  });

  test('a session ends when the server does', async () => {
    const session = login('echo begun; sleep 600');
    await waitFor('the session', 30_000, () => sshd.log().includes('Starting session'));
    await sshd.stop({ sessions: true });
    const { status } = await session.done;
    assert.notEqual(status, 0);
    await sshd.start();
  });

  test('who listens in place of the agent is told nothing, and believed nothing', async () => {
    assert.equal((await mint('agent', 'stop')).status, 0);
    const name = pipe('control');
    writeFileSync(
      wine.here('squat.mjs'),
      `import { createServer } from 'node:net'; import { appendFileSync } from 'node:fs';
createServer((socket) => socket.on('error', () => {}).on('data', (bytes) => {
  appendFileSync('squatted', bytes);
  socket.on('close', () => process.exit());
  socket.write('${'0'.repeat(64)} ${'0'.repeat(64)}\\n{"type":"status"}\\n');
})).listen(process.argv[2], () => appendFileSync('squatting', ''));
`,
    );
    const squatter = wine.start(wine.there('node.exe'), [wine.there('squat.mjs'), name]);
    await waitFor('the pipe', 15_000, () => existsSync(wine.here('squatting')));
    const { status, stderr } = await login('echo hello').done;
    assert.notEqual(status, 0);
    assert.match(stderr, /is not your agent \(unsafe-permissions\)/);
    assert.match(readFileSync(wine.here('squatted'), 'utf8'), /^(?:[0-9a-f]{64}\n)+$/);
    await squatter.done;
  });

  test('who does not know the secret gets no word from the agent', async () => {
    assert.equal((await login('true').done).status, 0);
    const name = pipe('control');
    const script = `const socket = require('node:net').connect(process.argv[1]); let said = 0;
socket.on('data', (bytes) => { said += bytes.length; }).on('error', () => {});
socket.on('close', () => require('node:fs').writeFileSync('said', String(said)));
socket.write(JSON.stringify({ type: 'status' }) + '\\n');`;
    await wine.start(wine.there('node.exe'), ['-e', script, name]).done;
    assert.equal(readFileSync(wine.here('said'), 'utf8'), '0');
  });

  test('a changed host key is asked about on the console, and the answer counts', async () => {
    await sshd.replaceHostKey();
    const refused = await login('echo in').done;
    assert.notEqual(refused.status, 0);
    assert.match(refused.stderr, /host-key-changed/);
    const typing = await onConsole('echo in', 'yes\r');
    assert.match(typing, /yes\s[\s\S]*lin\r/);
    assert.ok(readFileSync(join(config, 'known_hosts'), 'utf8').includes(`dev=${sshd.hostKey.fingerprint}`));
  });

  test('a managed key is made, and the passphrase that is typed for its export is not shown', async () => {
    const made = await mint('keys', 'create', 'research');
    assert.equal(made.status, 0, made.stderr);
    const file = join(wine.profile, 'research.pem');
    const words = ['--output', 'C:\\users\\root\\research.pem', '--format', 'pkcs8', '--passphrase'];
    const child = wine.startOnConsole(wine.there('mint-ssh.exe'), ['keys', 'export', 'research', ...words]);
    for (const question of ['New passphrase', 'The same again']) {
      await waitFor(question, 30_000, () => child.stdout.includes(question));
      await delay(1000);
      child.stdin.write('correct horse\r');
    }
    const { stdout } = await child.done;
    assert.doesNotMatch(stdout, /correct|horse/);
    assert.match(readFileSync(file, 'utf8'), /^-----BEGIN ENCRYPTED PRIVATE KEY-----/);
  });

  test('the agent ends when it is told to', async () => {
    assert.equal((await mint('agent', 'stop')).status, 0);
    assert.equal((await mint('agent', 'status')).status, 1);
  });
});
