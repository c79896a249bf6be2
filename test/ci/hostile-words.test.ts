/**
 * Words from elsewhere, such as a workflow's command, in every place that starts ssh: none of them may run a program or
 * set an option on this machine, and the VM gets exactly what was given. The VM here runs nothing: it records the
 * command that sshd was asked for.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import { loginUser, makeWorld, mintProgram, type Result, type World } from '../openssh/world.ts';

describe('hostile words', { timeout: 300_000 }, () => {
  let world: World;
  const marker = () => join(world.directory, 'ran-here');
  const record = () => join(world.directory, 'record');

  before(async () => {
    const sshdLines = ['ForceCommand "$MINT_SSHD/../record-command"'];
    world = await makeWorld({
      vms: { vm: { sshdLines }, job: { sshdLines } },
    });
    const program = join(world.directory, 'record-command');
    writeFileSync(
      program,
      `#!/bin/sh\nprintf '%s\\0' "\${SSH_ORIGINAL_COMMAND-a login shell}" >>'${record()}'\n`,
    );
    chmodSync(program, 0o755);
    const begun = await world.mint('job', 'begin', 'r1', '--user', loginUser, '--format', 'authorized-key');
    assert.equal(begun.status, 0, begun.stderr);
    const authorized = join(world.directory, 'keys', world.vm('job').instance);
    mkdirSync(authorized, { recursive: true });
    writeFileSync(join(authorized, loginUser), begun.stdout);
    const port = String(world.vm('job').port);
    assert.equal((await world.mint('job', 'set', 'r1', '--host', '127.0.0.1', '--port', port)).status, 0);
  });
  after(async () => {
    await world.mint('job', 'end', 'r1');
    await world.end();
  });
  beforeEach(() => rmSync(record(), { force: true }));

  /** The commands that sshd got since the last call. */
  function recorded(): string[] {
    const text = existsSync(record()) ? readFileSync(record(), 'utf8') : '';
    rmSync(record(), { force: true });
    return text.split('\0').slice(0, -1);
  }

  /** Checks that none of these words ran on this machine. */
  async function run(...words: readonly string[]): Promise<Result> {
    const result = await world.run(mintProgram, words, { env: { TERM: 'xterm', LANG: 'C.UTF-8' } });
    assert.ok(!existsSync(marker()), `ran on this machine: ${words.join(' ').slice(0, 200)}`);
    assert.doesNotMatch(result.stderr, /not a failure we foresaw|\bat .*\.ts:\d|E2BIG/);
    return result;
  }

  /** Over twenty words that could be options of ssh, a shell or another program. */
  const hostile = (): readonly string[] => [
    `-oProxyCommand=touch ${marker()}`,
    `-oLocalCommand=touch ${marker()}`,
    '-oPermitLocalCommand=yes',
    `-oKnownHostsCommand=/usr/bin/touch ${marker()}`,
    '-V',
    '-G',
    '-N',
    '-Q key',
    '-F/dev/null',
    `-E${marker()}`,
    '-lroot',
    '-tt',
    '-',
    '--',
    '--help',
    `$(touch ${marker()})`,
    `\`touch ${marker()}\``,
    `; touch ${marker()} #`,
    `'; touch ${marker()}; '`,
    '"',
    "'",
    '\\',
    'a\nb\n',
    '\r\t a  b ',
    '*',
    '~.',
    '%h %n',
    'FOO=1',
    'time',
    'é\u{1F600}\u202E',
  ];

  test('job run: one word reaches the VM unchanged, as a line for its shell', async () => {
    for (const word of hostile()) {
      const { status, stdout, stderr } = await run('job', 'run', 'r1', '--', word);
      assert.deepEqual([status, stdout, recorded()], [0, '', [word]], `${word}: ${stderr}`);
    }
  });

  test('job run: several words arrive as exactly these words', async () => {
    const words = ['printf', ...hostile(), '', 'end'];
    const { status, stderr } = await run('job', 'run', 'r1', '--', ...words);
    const [line = ''] = recorded();
    assert.deepEqual([status, split(line)], [0, words], stderr);
  });

  test('job run: the first of several words is a program, and never an option, an assignment or a keyword', async () => {
    const bin = join(world.directory, 'bin');
    mkdirSync(bin, { recursive: true });
    for (const name of ['FOO=1', 'time', 'if', '!', '-V', 'a b', '-oProxyCommand=x']) {
      writeFileSync(join(bin, name), `#!/bin/sh\nprintf '%s|' '${name}' "$@"\n`, { mode: 0o755 });
      await run('job', 'run', 'r1', '--', name, 'x');
      const [line = ''] = recorded();
      const { stdout } = spawnSync('/bin/bash', ['-c', line], { env: { PATH: bin }, encoding: 'utf8' });
      assert.equal(stdout, `${name}|x|`);
    }
  });

  test('job run: an empty command is refused, and starts no shell', async () => {
    for (const words of [[''], []]) {
      const { status, stderr } = await run('job', 'run', 'r1', '--', ...words);
      assert.equal(status, 2);
      assert.match(stderr, /\(usage\)/);
    }
    assert.deepEqual(recorded(), []);
  });

  test('job run, ssh and mosh: 200 kB are refused by name, or arrive whole', async () => {
    const long = Array.from({ length: 4 }, (_, at) => String(at).repeat(50_000));
    for (const words of [
      ['job', 'run', 'r1', '--', ...long],
      ['mosh', 'vm', '--', ...long],
    ]) {
      const { status, stderr } = await run(...words);
      assert.equal(status, 2, stderr);
      assert.match(stderr, /the command for the VM has 200\d{3} bytes, more than 131071 \(usage\)\n.*scp/);
      assert.deepEqual(recorded(), []);
    }
    // ssh's own arguments pass here; the VM's shell reports its own limit.
    const { status } = await run('ssh', 'vm', '--', '--', ...long);
    assert.notEqual(status, 2);
    const fits = long.slice(0, 2);
    const { status: fine, stderr } = await run('job', 'run', 'r1', '--', ...fits);
    assert.equal(fine, 0, stderr);
    assert.deepEqual(recorded().map(split), [fits]);
    // More than this machine passes to a program, through a file of words.
    const { stderr: told } = await world.run(
      'xargs',
      ['-x', '-s', '1900000', mintProgram, 'ssh', 'vm', '--', '--'],
      {
        input: Array.from({ length: 18 }, () => 'x'.repeat(100_000)).join('\n'),
      },
    );
    assert.doesNotMatch(told, /not a failure we foresaw|spawn E2BIG/);
  });

  test('ssh: words after the second -- are only a command', async () => {
    for (const word of hostile().slice(0, 16)) {
      const { status, stderr } = await run('ssh', 'vm', '--', '--', word);
      assert.deepEqual([status, recorded()], [0, [word]], `${word}: ${stderr}`);
    }
  });

  test('mosh: the command is words of mosh-server on the VM', async () => {
    const words = [...hostile(), '', 'end'];
    await run('mosh', 'vm', '--', ...words);
    const [line = ''] = recorded();
    assert.match(line, /^'sh' -c 'exec 2>&1; command -v mosh-server /);
    const all = split(line);
    assert.deepEqual(all.slice(all.indexOf('--') + 1), words);
  });

  test('key, keys attach, debug open, job set, job begin: a hostile word is refused as a name', async () => {
    const file = join(world.directory, '200-kB');
    writeFileSync(file, 'ssh-ed25519 AAAA'.padEnd(200_000, 'A'));
    for (const word of [...hostile().slice(0, 6), `$(touch ${marker()})`, 'a\nb\n', '', file]) {
      for (const words of [
        ['key', 'add', '--', word, 'ssh-ed25519 AAAA'],
        ['key', 'add', '--', 'vm', word],
        ['key', 'list', '--', word],
        ['key', 'remove', '--', 'vm', word],
        ['keys', 'attach', '--', word, 'vm'],
        ['keys', 'attach', '--', 'work', word],
        ['debug', 'open', word],
        ['debug', 'open', 'r1', '--project', 'web', '--instance', word, '--print-key'],
        ['debug', 'open', 'r1', '--project', 'web', `--authorize=${word}`, '--destroy=command:true'],
        ['debug', 'open', 'r1', `--project=${word}`, '--print-key', '--destroy=command:true'],
        ['job', 'set', 'r1', `--host=${word}`],
        ['job', 'begin', 'other', `--user=${word}`],
        ['job', 'run', word, '--', 'true'],
        ['ssh', word],
        ['mosh', word],
      ]) {
        const { status } = await run(...words);
        if (word !== '--help') assert.notEqual(status, 0, words.join(' ').slice(0, 200));
        assert.deepEqual(recorded(), [], words.join(' ').slice(0, 200));
      }
    }
  });
});

/** As a POSIX shell takes a line apart. */
function split(line: string): string[] {
  const { stdout, status } = spawnSync('sh', ['-c', `set -- ${line}\nprintf '%s\\0' "$@"`], {
    encoding: 'utf8',
    maxBuffer: 1 << 24,
  });
  assert.equal(status, 0, line.slice(0, 200));
  return stdout.split('\0').slice(0, -1);
}
