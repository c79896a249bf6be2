/** `install.sh --uninstall` and `--purge`, with the unit installed, the agent running and managed keys in the store. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { version } from '../../src/version.ts';
import { type Child, type Result, startChild } from '../openssh/child.ts';
import { killProcessesOf } from '../openssh/processes.ts';
import { testPath } from '../programs.ts';

const root = join(import.meta.dirname, '../..');
const installer = join(root, 'install.sh');
const folder = mkdtempSync(join(tmpdir(), 'mint-uninstall-'));
const title = `mint-ssh-${version}-linux-${process.arch}`;
const archive = join(folder, `${title}.tar.gz`);
const unitName = 'mint-ssh-agent.service';

describe('install.sh --uninstall', { timeout: 300_000 }, () => {
  let home: string;
  let environment: Record<string, string>;
  let agent: Child | undefined;
  const inConfig = (name: string) => join(home, '.config/mint', name);
  const program = () => join(home, '.local/bin/mint-ssh');
  const unit = () => join(home, '.config/systemd/user', unitName);
  const run = (command: string, ...words: string[]): Promise<Result> =>
    startChild(command, words, environment, { cwd: home, timeout: 60_000 }).done;
  const mint = async (...words: string[]) => {
    const { status, stderr } = await run(program(), ...words);
    assert.equal(status, 0, stderr);
  };

  before(async () => {
    const words = ['-C', root, '--transform', `s,^dist,${title},`, '-I', 'gzip -1', '-cf', archive, 'dist'];
    const { status, stderr } = await startChild('tar', words, { PATH: testPath }, { timeout: 120_000 }).done;
    assert.equal(status, 0, stderr);
    const sum = createHash('sha256').update(readFileSync(archive)).digest('hex');
    writeFileSync(join(folder, 'SHA256SUMS'), `${sum}  ${title}.tar.gz\n`);
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  beforeEach(async () => {
    home = mkdtempSync(join(folder, 'home-'));
    const bin = join(home, 'bin');
    mkdirSync(bin);
    // Replaces systemd, which the test must not reach.
    const script = `#!/bin/sh\necho "$*" >> '${home}/calls'\n`;
    writeFileSync(join(bin, 'systemctl'), script, { mode: 0o755 });
    environment = { PATH: `${bin}:${testPath}`, HOME: home, LANG: 'C.UTF-8', TERM: 'xterm' };
    const installed = await run(installer, '--from', archive);
    assert.equal(installed.status, 0, installed.stderr);

    await mint('agent', 'install');
    const wants = join(home, '.config/systemd/user/default.target.wants');
    mkdirSync(wants);
    symlinkSync(unit(), join(wants, unitName));
    const [, line = ''] = /^ExecStart=(.*)$/m.exec(readFileSync(unit(), 'utf8')) ?? [];
    const [file = '', ...words] = [...line.matchAll(/"([^"]*)"/g)].map(([, word = '']) => word);
    agent = startChild(file, words, environment, { timeout: 250_000 });
    await agent.until(/the agent listens on/);
    await mint('keys', 'create', 'research');
    writeFileSync(inConfig('ssh.toml'), 'region = "eu-central-1"\n', { mode: 0o600 });
    writeFileSync(inConfig('known_hosts'), 'other=SHA256:x\n', { mode: 0o600 });
  });
  afterEach(async () => {
    agent?.kill();
    await agent?.done;
    killProcessesOf(home);
  });

  /** What is left below the home directory, but for what the test itself put there. */
  const remains = () =>
    readdirSync(home, { recursive: true, encoding: 'utf8' })
      .filter((path) => !/^(?:bin|calls|\.config\/systemd)(?:\/|$)|^\.(?:config|local)$/.test(path))
      .sort();
  const assertGone = async () => {
    const { status } = (await agent?.done) ?? assert.fail();
    assert.equal(status, 0, 'the agent ended by itself');
    assert.ok(!existsSync(program()));
    assert.ok(!existsSync(unit()));
    assert.deepEqual(readdirSync(join(home, '.config/systemd/user/default.target.wants')), []);
    assert.match(readFileSync(join(home, 'calls'), 'utf8'), new RegExp(`--user disable --now ${unitName}`));
  };

  test('stops the agent, removes the unit and its own files, and says what stays and why', async () => {
    const { status, stdout, stderr } = await run(installer, '--uninstall');
    assert.equal(status, 0, stderr);
    await assertGone();
    for (const path of ['run', 'cache']) assert.ok(!existsSync(inConfig(path)), path);
    const left = [...stdout.matchAll(/^left in place: (\S+) \((.+)\)$/gm)].map(([, path, why]) => [
      path,
      why,
    ]);
    assert.deepEqual(left, [
      [inConfig('ssh.toml'), 'your settings'],
      [inConfig('hosts'), 'the pinned host keys'],
      [inConfig('keys'), 'managed keys, which exist nowhere else'],
      [inConfig('audit.log'), 'the audit log'],
      [inConfig('known_hosts'), 'pinned host keys, shared with Mint'],
    ]);
    const listed = left.map(([path]) => path);
    const there = readdirSync(inConfig('.')).map(inConfig);
    assert.deepEqual([...there].sort(), [...listed].sort(), 'everything that stays is listed');
    assert.ok(readdirSync(inConfig('keys')).length > 0);
  });

  test('with --purge and without a terminal it removes nothing and stops nothing', async () => {
    const before = remains();
    const { status, stderr } = await run(installer, '--uninstall', '--purge');
    assert.equal(status, 1);
    assert.match(stderr, /no terminal to ask on; nothing was removed/);
    assert.deepEqual(remains(), before);
    assert.ok(existsSync(unit()));
    await mint('agent', 'status');
  });

  const purge = async (answer: string) => {
    const line = `'${installer}' --uninstall --purge`;
    const options = { cwd: home, timeout: 60_000, holdInput: true };
    const asking = startChild('script', ['-qec', line, '/dev/null'], environment, options);
    await asking.until(/Remove these for good, managed keys included\? \(yes\/no\)/);
    assert.ok(existsSync(program()), 'nothing is removed before the answer');
    asking.stdin.write(`${answer}\n`);
    const { status, stdout } = await asking.done;
    assert.equal(status, 0, stdout);
    return stdout;
  };

  test('with --purge it asks, and takes settings and keys, but not the file shared with Mint', async () => {
    const stdout = await purge('yes');
    await assertGone();
    assert.deepEqual(remains(), ['.config/mint', '.config/mint/known_hosts']);
    assert.match(stdout, /left in place: .*\/known_hosts \(pinned host keys, shared with Mint\)/);
    assert.doesNotMatch(stdout, /left in place: .*\/keys/);
  });

  test('with any other answer than yes the program goes, and settings and keys stay', async () => {
    const stdout = await purge('no');
    await assertGone();
    assert.ok(existsSync(inConfig('ssh.toml')) && existsSync(inConfig('keys')));
    assert.match(stdout, /left in place: .*\/keys \(managed keys/);
  });
});
