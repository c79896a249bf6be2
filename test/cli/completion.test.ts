/** Completion, tested in the real shells. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { globalOptions } from '../../src/cli/arguments.ts';
import { loadCommands } from '../../src/cli/grammar.ts';
import { commands } from '../../src/commands/table.ts';
import { keyTypes } from '../../src/keys/store/key-type.ts';
import { keyFormats } from '../../src/keys/store/private-key.ts';
import { resolvePaths } from '../../src/platform/paths.ts';
import { scopeKey } from '../../src/vms/names.ts';
import { VmCache } from '../../src/vms/vm-cache.ts';
import { testPath } from '../programs.ts';

const main = join(import.meta.dirname, '../../src/main.ts');
const texts = await loadCommands(commands);
const commandNames = Object.keys(commands);
const hostsWords = ['list', 'show', 'accept', 'verify', 'forget'];

let directory: string;
let environment: Record<string, string>;
before(() => {
  directory = mkdtempSync(join(tmpdir(), 'mint-completion-'));
  const bin = join(directory, 'bin');
  mkdirSync(bin);
  // As installed: the scripts call it by its name.
  writeFileSync(join(bin, 'mint-ssh'), `#!/bin/sh\nexec '${process.execPath}' '${main}' "$@"\n`);
  chmodSync(join(bin, 'mint-ssh'), 0o755);
  const table = (name: string) => `[vm.${name}]\ninstance = "i-0123456789abcdef0"\nhost = "127.0.0.1"\n`;
  writeFileSync(join(directory, 'ssh.toml'), ['dev', 'dev-2', 'build'].map(table).join('\n'), {
    mode: 0o600,
  });
  mkdirSync(join(directory, '.aws'));
  writeFileSync(
    join(directory, '.aws', 'config'),
    '[default]\nregion = eu-central-1\n[profile work]\nregion=us-east-1\n[sso-session corp]\n[profile $(touch ran)]\n',
  );
  writeFileSync(join(directory, '.aws', 'credentials'), '[work]\naws_access_key_id = x\n[old-work]\n');
  const made = spawnSync(process.execPath, [main, 'keys', 'create', 'research'], {
    env: { HOME: directory, MINT_CONFIG_DIR: directory },
  });
  assert.equal(made.status, 0);
  environment = {
    PATH: `${bin}:${testPath}`,
    HOME: directory,
    MINT_CONFIG_DIR: directory,
    LANG: 'C.UTF-8',
  };
});
after(() => rmSync(directory, { recursive: true, force: true }));

/** Made once, as it is when it is installed. */
function script(shell: string): string {
  const path = join(directory, `completion.${shell}`);
  if (existsSync(path)) return path;
  const text = execFileSync(process.execPath, [main, 'completion', shell], {
    encoding: 'utf8',
    env: environment,
  });
  writeFileSync(path, text);
  return path;
}

function isThere(program: string): boolean {
  return spawnSync('/bin/sh', ['-c', `command -v ${program}`], { env: environment }).status === 0;
}

/** What bash would offer for a line whose last word is being typed. */
function bashOffers(line: string, more = ''): string[] {
  const words = line.split(' ');
  const program = `
    set -u
    . "$1"; shift
    ${more}
    COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
    _mint_ssh
    printf '%s\\n' \${COMPREPLY[@]+"\${COMPREPLY[@]}"}`;
  const args = ['--norc', '--noprofile', '-c', program, 'bash', script('bash'), ...words];
  const { stdout, stderr } = spawnSync('bash', args, { encoding: 'utf8', env: environment });
  assert.equal(stderr, '', line);
  return stdout.split('\n').filter((word) => word !== '');
}

test('every option that is not hidden, and every word, has a description of one line', () => {
  for (const { word, summary, command } of texts) {
    const described = [
      ['summary', summary],
      ...(command.words ?? []),
      ...Object.entries({ ...globalOptions, ...command.options })
        .filter(([, option]) => !('hidden' in option && option.hidden))
        .map(([name, option]) => [name, 'description' in option ? option.description : undefined]),
    ];
    for (const [name, description] of described) {
      assert.match(description ?? '', /^[^\n]{3,100}[^.\n]$/, `${word}: ${name}`);
    }
    // The lines of the options are made from the table: a text that has them as well says them twice.
    assert.doesNotMatch(command.help, /^ {2}(?:-\w, )?--/m, `${word}: help`);
  }
});

describe('bash', () => {
  test('offers the commands, their subcommands, and the options', () => {
    assert.deepEqual(bashOffers('mint-ssh '), commandNames);
    assert.deepEqual(bashOffers('mint-ssh ssh-'), ['ssh-config']);
    assert.deepEqual(bashOffers('mint-ssh hosts '), hostsWords);
    assert.deepEqual(bashOffers('mint-ssh hosts --j'), ['--json']);
    assert.ok(bashOffers('mint-ssh ssh-config --').includes('--dry-run'));
    assert.ok(bashOffers('mint-ssh --').includes('--region'));
    assert.ok(!bashOffers('mint-ssh agent --').includes('--background'));
    assert.deepEqual(bashOffers('mint-ssh nonsense '), []);
  });

  test('offers the names of the VMs as an argument, also after options', () => {
    assert.deepEqual(bashOffers('mint-ssh ssh '), ['dev', 'dev-2', 'build']);
    assert.deepEqual(bashOffers('mint-ssh doctor d'), ['dev', 'dev-2']);
    assert.deepEqual(bashOffers('mint-ssh hosts show b'), ['build']);
    assert.deepEqual(bashOffers('mint-ssh --region us-east-1 --timing ssh b'), ['build']);
    assert.deepEqual(bashOffers('mint-ssh hosts list '), []);
    assert.deepEqual(bashOffers('mint-ssh ssh dev '), []);
    assert.deepEqual(bashOffers('mint-ssh ssh dev -- '), []);
  });

  test('does not expand names', () => {
    const hostile = `mint-ssh() { printf '%s\\n' 'd$(touch ${directory}/ran)' 'd*' '\`touch ${directory}/ran\`' 'dev'; }; cd /`;
    assert.deepEqual(bashOffers('mint-ssh ssh d', hostile), [`d$(touch ${directory}/ran)`, 'd*', 'dev']);
    assert.equal(spawnSync('ls', [join(directory, 'ran')]).status, 2);
  });

  test('is registered for the command, and asks bash itself for files and directories', () => {
    const registered = `. '${script('bash')}'; complete -p mint-ssh`;
    const { stdout } = spawnSync('bash', ['--norc', '-c', registered], {
      encoding: 'utf8',
      env: environment,
    });
    assert.equal(stdout, 'complete -F _mint_ssh mint-ssh\n');
    const asked = (line: string) => bashOffers(line, 'compopt() { echo "$@" >&3; }; exec 3>&1');
    assert.deepEqual(asked('mint-ssh ssh-config --file '), ['-o default']);
    assert.deepEqual(asked('mint-ssh --config-dir '), ['-o dirnames']);
  });

  test('offers the values of options, and the names of keys and profiles', () => {
    assert.deepEqual(bashOffers('mint-ssh keys create lab --type ed'), ['ed25519']);
    assert.deepEqual(bashOffers('mint-ssh keys export lab --format '), [...keyFormats]);
    assert.ok(bashOffers('mint-ssh job begin x --format ').includes('cloud-config'));
    assert.deepEqual(bashOffers('mint-ssh debug open x --format git'), ['github', 'gitlab']);
    assert.deepEqual(bashOffers('mint-ssh --profile '), ['default', 'work', 'old-work']);
    assert.deepEqual(bashOffers('mint-ssh vms --profile w'), ['work']);
    assert.deepEqual(bashOffers('mint-ssh --region '), ['eu-central-1', 'us-east-1']);
    assert.deepEqual(bashOffers('mint-ssh keys show '), ['research']);
    assert.deepEqual(bashOffers('mint-ssh keys attach '), ['research']);
    assert.deepEqual(bashOffers('mint-ssh keys attach research b'), ['build']);
    assert.deepEqual(bashOffers('mint-ssh keys dedicated b'), ['build']);
  });
});

/** If a shell is not installed, checks its script instead. */
function checkText(shell: string): void {
  const text = spawnSync('cat', [script(shell)], { encoding: 'utf8' }).stdout;
  for (const name of commandNames) assert.ok(text.includes(name), name);
  for (const { command } of texts) {
    for (const [usage] of command.words ?? []) assert.ok(text.includes(usage.split(' ')[0] ?? ''), usage);
  }
  assert.equal((text.match(/'/g)?.length ?? 0) % 2, 0);
}

test('zsh offers the same', (context) => {
  if (!isThere('zsh')) {
    context.diagnostic('no zsh here: its script was looked at, and not run');
    return checkText('zsh');
  }
  assert.equal(spawnSync('zsh', ['-n', script('zsh')], { encoding: 'utf8' }).stderr, '');
  const offers = (line: string) => {
    const program = join(import.meta.dirname, 'programs/zsh-offers.zsh');
    const env = { ...environment, TERM: 'dumb' };
    const args = ['-f', program, script('zsh'), line];
    return spawnSync('zsh', args, { encoding: 'utf8', env, timeout: 30_000 }).stdout;
  };
  const lists = (line: string, ...words: readonly string[]) => {
    const said = offers(line);
    for (const word of words) assert.match(said, new RegExp(`(?:^|\\s)${word}\\s`, 'm'), line);
  };
  lists('mint-ssh ', ...commandNames);
  lists('mint-ssh hosts ', ...hostsWords);
  lists('mint-ssh hosts show ', 'build', 'dev', 'dev-2');
  lists('mint-ssh --region x ssh d', 'dev', 'dev-2');
  lists('mint-ssh hosts --', '--json', '--region');
  lists('mint-ssh keys create lab --type ', ...keyTypes);
  lists('mint-ssh keys export lab --format ', ...keyFormats);
  lists('mint-ssh --profile ', 'default', 'work', 'old-work');
  lists('mint-ssh vms --region ', 'eu-central-1', 'us-east-1');
  lists('mint-ssh keys attach research ', 'build', 'dev', 'dev-2');
});

test('fish offers the same', (context) => {
  if (!isThere('fish')) {
    context.diagnostic('no fish here: its script was looked at, and not run');
    return checkText('fish');
  }
  const offers = (line: string) => {
    const program = `source '${script('fish')}'; complete -C '${line}'`;
    const args = ['--no-config', '-c', program];
    const { stdout, stderr } = spawnSync('fish', args, {
      encoding: 'utf8',
      env: environment,
      timeout: 30_000,
    });
    assert.equal(stderr, '');
    const words = stdout.split('\n').map((row) => row.split('\t')[0] ?? '');
    return words.filter((word) => word !== '').sort();
  };
  assert.deepEqual(offers('mint-ssh '), [...commandNames].sort());
  assert.deepEqual(offers('mint-ssh hosts '), [...hostsWords].sort());
  assert.deepEqual(offers('mint-ssh --region x hosts show '), ['build', 'dev', 'dev-2']);
  assert.deepEqual(offers('mint-ssh ssh d'), ['dev', 'dev-2']);
  assert.deepEqual(offers('mint-ssh hosts list '), []);
  assert.ok(offers('mint-ssh hosts --').includes('--json'));
  assert.ok(!offers('mint-ssh demo --').includes('--json'));
  assert.deepEqual(offers('mint-ssh keys create lab --type ed'), ['ed25519']);
  assert.deepEqual(offers('mint-ssh keys export lab --format '), [...keyFormats].sort());
  assert.deepEqual(offers('mint-ssh --profile '), ['default', 'old-work', 'work']);
  assert.deepEqual(offers('mint-ssh vms --region '), ['eu-central-1', 'us-east-1']);
  assert.deepEqual(offers('mint-ssh keys show '), ['research']);
  assert.deepEqual(offers('mint-ssh keys attach research '), ['build', 'dev', 'dev-2']);
});

test('prints nothing without VMs, and with invalid settings', () => {
  const vms = (configDir: string) =>
    spawnSync(process.execPath, [main, 'completion', 'vms', '--config-dir', configDir], { encoding: 'utf8' });
  const nothing = vms('/nowhere');
  assert.deepEqual([nothing.status, nothing.stdout, nothing.stderr], [0, '', '']);
  const wrong = join(directory, 'wrong');
  mkdirSync(wrong);
  writeFileSync(join(wrong, 'ssh.toml'), 'colour = "red"\n');
  const bad = vms(wrong);
  assert.deepEqual([bad.status, bad.stdout, bad.stderr], [0, '', '']);
});

test('offers a VM that only AWS has, if it was found with these credentials', (context) => {
  const configDir = mkdtempSync(join(tmpdir(), 'mint-completion-'));
  context.after(() => rmSync(configDir, { recursive: true, force: true }));
  const paths = resolvePaths({ configDir }, {});
  const caller = { HOME: '/home/me', AWS_ACCESS_KEY_ID: 'AKIAME' };
  const cache = new VmCache(paths);
  const vm = { found: 'tag', instance: 'i-0123456789abcdef0', state: 'running' } as const;
  cache.change(scopeKey(caller, {}), ({ vms }) => {
    vms.set('found', { ...vm, name: 'found', account: '1', region: 'us-east-1', seenAt: 1 });
  });
  cache.flush();
  const vms = (env: Record<string, string>) =>
    spawnSync(process.execPath, [main, 'completion', 'vms', '--config-dir', configDir], {
      encoding: 'utf8',
      env,
    });
  assert.equal(vms(caller).stdout, 'found\n');
  assert.equal(vms({ ...caller, AWS_ACCESS_KEY_ID: 'AKIAYOU' }).stdout, '');
});

test('refuses another shell', () => {
  for (const words of [[], ['tcsh'], ['bash', 'zsh'], ['constructor']]) {
    const { status, stderr } = spawnSync(process.execPath, [main, 'completion', ...words], {
      encoding: 'utf8',
    });
    assert.equal(status, 2);
    assert.match(stderr, /completion is for bash, zsh or fish \(usage\)/);
  }
});
