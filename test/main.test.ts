import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { globalOptions } from '../src/cli/arguments.ts';
import type { Command } from '../src/cli/command.ts';
import { commandHelp, overview } from '../src/cli/help.ts';
import { commands } from '../src/commands/table.ts';

const main = join(import.meta.dirname, '../src/main.ts');

function mint(...words: string[]) {
  return spawnSync(process.execPath, [main, '--config-dir', '/nowhere', ...words], { encoding: 'utf8' });
}

test('without a command and a terminal it prints the help; an unknown option is named, without its value', () => {
  const { status, stdout } = mint();
  assert.equal(status, 0);
  assert.match(stdout, /^mint-ssh \S+: plain `ssh dev`/);
  for (const words of [['--bogus'], ['--bogus=secret'], ['--timing', '--bogus']]) {
    const { status, stderr, stdout } = mint(...words);
    assert.deepEqual([status, stdout], [2, '']);
    assert.match(stderr, /^mint-ssh: error: unknown option: --bogus \(usage\)\n.*hint: /);
    assert.doesNotMatch(stderr, /secret/);
  }
  assert.match(mint('-x').stderr, /unknown option: -x/);
  assert.match(mint('--bogus\u202e\u001b[2J').stderr, /--bogus\\u\{202e\}\\u\{1b\}\[2J/);
});

test('help, version, -v and -V are understood', () => {
  for (const word of ['version', '-v', '-V', '--version'])
    assert.match(mint(word).stdout, /^mint-ssh \d/, word);
  for (const word of ['help', '--help', '-h'])
    assert.match(mint(word).stdout, /^usage: mint-ssh COMMAND/m, word);
  assert.match(mint('help', 'vms').stdout, /^usage: mint-ssh vms /);
  const accept = mint('help', 'hosts', 'accept').stdout;
  assert.match(accept, /^usage: mint-ssh hosts accept VM FINGERPRINT$/m);
  assert.doesNotMatch(accept, /hosts list|forget/);
  assert.equal(mint('hosts', 'accept', '--help').stdout, accept);
});

test('an unknown command, option or VM is answered with what was probably meant', () => {
  assert.match(
    mint('vsm').stderr,
    /unknown command: vsm \(usage\)\nmint-ssh: hint: did you mean: mint-ssh vms\n/,
  );
  assert.match(
    mint('vms', '--refesh').stderr,
    /unknown option: --refesh \(usage\)\n.*did you mean: --refresh\n/,
  );
  assert.match(mint('--pofile', 'x').stderr, /did you mean: --profile/);
  const { status, stderr } = mint('x'.repeat(500));
  assert.equal(status, 2);
  assert.match(stderr, /unknown command: x{40} \(usage\)\n.*`mint-ssh help`/);
});

test('a mistyped subcommand is answered with the near one, and a stray option with the help to read', () => {
  for (const [words, near] of [
    [['keys', 'lst'], 'keys list'],
    [['key', 'lst'], 'key list'],
    [['job', 'strat'], undefined],
    [['job', 'bgin'], 'job begin'],
    [['debug', 'opne'], 'debug open'],
    [['agent', 'sttus'], 'agent status'],
    [['hosts', 'acept'], 'hosts accept'],
  ] as const) {
    const { status, stderr } = mint(...words);
    assert.equal(status, 2, stderr);
    assert.match(stderr, new RegExp(`unknown command: ${words.join(' ')} \\(usage\\)`));
    assert.match(
      stderr,
      near === undefined ? / --help` lists/ : new RegExp(`did you mean: mint-ssh ${near}\n`),
    );
  }
  const { status, stderr } = mint('keys', 'list', '--force');
  assert.equal(status, 2);
  assert.match(stderr, /--force is not an option of keys list \(usage\)\n.*`mint-ssh keys list --help`/);
});

test('the name of a VM of ssh.toml or of a managed key is answered with the near one', (context) => {
  const directory = mkdtempSync(join(tmpdir(), 'mint-main-'));
  context.after(() => rmSync(directory, { recursive: true }));
  writeFileSync(join(directory, 'ssh.toml'), '[vm.dev]\nhost = "127.0.0.1"\n', { mode: 0o600 });
  const run = (...words: string[]) =>
    spawnSync(process.execPath, [main, '--config-dir', directory, ...words], { encoding: 'utf8' }).stderr;
  assert.match(run('key', 'list', 'dve'), /\(vm-not-found\)\n.*did you mean: dev\n/);
  run('keys', 'create', 'research');
  assert.match(run('keys', 'show', 'reserach'), /\(key-not-found\)\n.*did you mean: research\n/);
});

test('a profile that does not exist is answered with the near one', (context) => {
  const directory = mkdtempSync(join(tmpdir(), 'mint-main-'));
  context.after(() => rmSync(directory, { recursive: true }));
  const config = join(directory, 'aws');
  writeFileSync(
    config,
    '[default]\nregion = eu-west-1\n[profile work]\nregion = eu-west-1\n[profile other]\nregion = eu-west-1\n',
  );
  const env = { HOME: directory, AWS_CONFIG_FILE: config, AWS_SHARED_CREDENTIALS_FILE: '/nowhere' };
  const vms = (toml: string, ...words: string[]) => {
    writeFileSync(join(directory, 'ssh.toml'), toml, { mode: 0o600 });
    const args = [main, '--config-dir', directory, 'vms', '--region', 'us-east-1', ...words];
    return spawnSync(process.execPath, args, { encoding: 'utf8', env }).stderr;
  };
  assert.match(vms('', '--profile', 'wrok'), /\(aws-credentials\)\n.*did you mean work\?/);
  assert.match(vms('profile = "ohter"\n'), /\(aws-credentials\)\n.*did you mean other\?/);
  assert.doesNotMatch(vms('', '--profile', 'something'), /did you mean/);
});

test('a VM is not a command: the error says what to type', (context) => {
  const directory = mkdtempSync(join(tmpdir(), 'mint-main-'));
  context.after(() => rmSync(directory, { recursive: true }));
  writeFileSync(join(directory, 'ssh.toml'), '[vm.dev]\ninstance = "i-0123456789abcdef0"\n', { mode: 0o600 });
  const words = [main, '--config-dir', directory, 'dev'];
  const { status, stderr } = spawnSync(process.execPath, words, { encoding: 'utf8' });
  assert.equal(status, 2);
  assert.match(
    stderr,
    /unknown command: dev \(usage\)\n.*dev is a VM; to log in: ssh dev, or mint-ssh ssh dev\n/,
  );
});

test('the help of a subcommand lists its own options, and no other', async () => {
  let checked = 0;
  for (const [name, { load }] of Object.entries(commands)) {
    const { command }: { command: Command } = await load();
    const all = Object.entries(command.options).filter(([, { hidden }]) => hidden !== true);
    for (const word of new Set((command.words ?? []).map(([form]) => form.split(' ')[0] ?? ''))) {
      const forms = (command.words ?? []).filter(([form]) => form.split(' ')[0] === word);
      const own = new Set(forms.flatMap(([, , options]) => options));
      for (const option of own)
        assert.ok(Object.hasOwn(command.options, option), `${name} ${word}: ${option}`);
      const listed = [...commandHelp(command, word).matchAll(/^ {2}(?:-\w, )?--([\w-]+)/gm)].map(
        ([, option]) => option,
      );
      const expected = all.map(([option]) => option).filter((option) => own.has(option));
      const globals = Object.keys(globalOptions).filter(
        (option) => option !== 'version' && option !== 'help',
      );
      assert.deepEqual(listed, [...expected, ...globals, 'help'], `${name} ${word}`);
      checked += 1;
    }
  }
  assert.ok(checked > 35);
  assert.match(mint('keys', 'create', '--help').stdout, /--type TYPE +the type of the key: ed25519, /);
  assert.match(
    mint('job', 'begin', '--help').stdout,
    /--format FORM +the form of the output: cloud-config, /,
  );
  assert.doesNotMatch(mint('debug', 'open', '--help').stdout, /--json/);
});

test('no line of any help is longer than 80 columns', async () => {
  for (const [word, { load }] of Object.entries(commands)) {
    const { command } = await load();
    const texts = [
      commandHelp(command),
      ...(command.words ?? []).map(([form]) => commandHelp(command, form.split(' ')[0])),
    ];
    for (const line of texts.join('\n').split('\n')) assert.ok(line.length <= 80, `${word}: ${line}`);
  }
  for (const line of overview(commands).split('\n')) assert.ok(line.length <= 80, line);
});

test('a port of the proxy is decimal digits and nothing else', () => {
  for (const port of ['0x16', '1e3', ' 22', '22x', '0', '65536', '²²', '']) {
    const { status, stderr } = mint('proxy', 'dev', port);
    assert.equal(status, 2, port);
    assert.match(stderr, /invalid PORT: must be 1 to 65535 \(usage\)/, port);
  }
});

test('a user name with more in it than a name is refused by the proxy', () => {
  for (const user of ['a;b', '$(id)', 'a b', "o'brien", 'x'.repeat(33), '']) {
    const { status, stderr } = mint('proxy', 'dev', '22', user);
    assert.equal(status, 2, user);
    assert.match(stderr, /invalid USER: .* \(usage\)/, user);
  }
  // A valid name gets as far as the error for an unknown VM.
  for (const user of ['ec2-user', 'anna@corp', 'svc$']) {
    assert.match(mint('proxy', 'dev', '22', user).stderr, /\(vm-not-found\)/, user);
  }
});
