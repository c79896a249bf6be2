/** What OpenSSH for Windows is given: its parser is OpenSSH's own, so this machine's ssh tells how it reads the lines. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { isBelow } from '../../src/platform/files.ts';
import { resolvePaths } from '../../src/platform/paths.ts';
import { loadSettings, type VmSettings } from '../../src/settings/settings.ts';
import {
  isWritablePath,
  quoteInclude,
  quotePath,
  quoteProgram,
  quoteWord,
} from '../../src/ssh-config/quote.ts';
import { renderSshConfig } from '../../src/ssh-config/render.ts';
import { ownDirectory, refusal } from './directory.ts';

const profile = 'C:\\Users\\Zoë Müller';

test('writes paths and pipes with slashes, which no version reads as an escape', () => {
  assert.equal(quotePath(`${profile}\\.config\\mint`, 'win32'), '"C:/Users/Zoë Müller/.config/mint"');
  assert.equal(quotePath('\\\\.\\pipe\\mint-ssh-0a', 'win32'), '"//./pipe/mint-ssh-0a"');
  assert.equal(quotePath('\\\\server\\share\\100%', 'win32'), '"//server/share/100%%"');
});

test('writes the program without quotation marks if possible, which older versions of Windows need', () => {
  assert.equal(quoteProgram('C:\\Tools\\mint-ssh.exe', 'win32'), 'C:/Tools/mint-ssh.exe');
  assert.equal(quoteProgram('C:\\Users\\Zoë\\mint-ssh.exe', 'win32'), 'C:/Users/Zoë/mint-ssh.exe');
  assert.equal(quoteProgram('C:\\Program Files\\mint-ssh.exe', 'win32'), '"C:/Program Files/mint-ssh.exe"');
  assert.equal(quoteProgram('C:\\a&b\\mint-ssh.exe', 'win32'), '"C:/a&b/mint-ssh.exe"');
  assert.equal(quoteProgram('/opt/bin/mint-ssh', 'linux'), '"/opt/bin/mint-ssh"');
});

test('refuses text that cannot be written in a line', () => {
  for (const path of ['C:\\a"b', 'C:\\a\nb', 'C:\\$HOME', 'C:\\`x`', 'C:relative', 'relative', '/unix', '']) {
    assert.throws(() => quotePath(path, 'win32'), refusal('ssh-config-unsafe'), path);
    assert.ok(!isWritablePath(path, 'win32'), path);
  }
  // A backslash is not an escape in a pattern on Windows, so special characters cannot be escaped.
  for (const path of ['C:\\[x]\\c', 'C:\\100%\\c', 'C:\\?\\c', 'C:\\*'])
    assert.throws(() => quoteInclude(path, 'win32'), refusal('ssh-config-unsafe'), path);
  assert.equal(quoteInclude(`${profile}\\c`, 'win32'), '"C:/Users/Zoë Müller/c"');
});

test('quotes a word for the shell, or for the C runtime', () => {
  assert.equal(quoteWord("it's 5%", 'linux'), "'it'\\''s 5%%'");
  assert.equal(quoteWord("it's 5%", 'win32'), '"it\'s 5%%"');
  for (const word of ['a"b', 'a\\', 'a\nb'])
    assert.throws(() => quoteWord(word, 'win32'), refusal('ssh-config-unsafe'), word);
});

test('a block for Windows sets the intended values, and names no missing socket', (context) => {
  const directory = ownDirectory(context);
  writeFileSync(
    join(directory, 'ssh.toml'),
    'multiplex = "10m"\n[vm.dev]\nhost = "127.0.0.1"\n[vm.build]\nhost = "127.0.0.1"\n',
  );
  const own = resolvePaths({ configDir: directory });
  const settings = loadSettings(own, {});
  const config = `${profile}\\.config\\mint`;
  const paths = { ...own, dir: config, run: `${config}\\run`, hosts: `${config}\\hosts` };
  const blocks = settings.vms.map((name) => ({ vm: settings.named(name), forwardAgent: name === 'build' }));
  const text = renderSshConfig(blocks, {
    paths,
    program: 'C:\\Program Files\\mint-ssh\\mint-ssh.exe',
    used: new Set(),
    platform: 'win32',
  });
  assert.doesNotMatch(text, /\\|forward\.sock|ControlMaster|upstream-agent/);
  const file = join(directory, 'config');
  writeFileSync(file, text);
  const shown = (vm: string) => execFileSync('ssh', ['-F', file, '-G', vm], { encoding: 'utf8' });
  const dev = shown('dev');
  const proxy = /^proxycommand (.*)$/m.exec(dev)?.[1];
  assert.equal(
    proxy,
    '"C:/Program Files/mint-ssh/mint-ssh.exe" proxy --config-dir "C:/Users/Zoë Müller/.config/mint" dev %p %r',
  );
  assert.match(dev, /^forwardagent no$/m);
  assert.match(
    dev,
    /^userknownhostsfile "?C:\/Users\/Zoë Müller\/\.config\/mint\/hosts\/dev\.known_hosts"?$/m,
  );
  assert.match(shown('build'), /^forwardagent \/\/\.\/pipe\/openssh-ssh-agent$/m);
});

test('names the user’s own agent directly if they have set it', (context) => {
  const own = resolvePaths({ configDir: ownDirectory(context) });
  const settings = loadSettings(own, {});
  const vm: VmSettings = { ...settings.named('dev'), upstreamAgent: '\\\\.\\pipe\\mine' };
  const config = `${profile}\\mint`;
  const paths = { ...own, dir: config, run: `${config}\\run`, hosts: `${config}\\hosts` };
  const options = { paths, program: 'C:\\m.exe', used: new Set<string>(), platform: 'win32' } as const;
  const lines = (usersAgent: string | undefined, given = vm) =>
    renderSshConfig([{ vm: given, forwardAgent: false }], { ...options, usersAgent })
      .split('\n')
      .filter((line) => /^ *ForwardAgent/.test(line))
      .map((line) => line.trim());
  assert.deepEqual(lines(undefined), ['ForwardAgent no', 'ForwardAgent "//./pipe/mine"']);
  const plain = settings.named('dev');
  assert.deepEqual(lines('\\\\.\\pipe\\theirs', plain), [
    'ForwardAgent no',
    'ForwardAgent "//./pipe/theirs"',
  ]);
  assert.deepEqual(lines('none', plain), ['ForwardAgent no']);
});

test('does not take another profile with the same prefix for the user’s', () => {
  assert.ok(isBelow('c:\\users\\ann\\.config\\mint', 'C:\\Users\\Ann'));
  for (const path of [
    'C:\\Users\\Ann',
    'C:\\Users\\Anne\\x',
    'C:\\Users',
    'D:\\Users\\Ann\\x',
    '\\\\pc\\Ann\\x',
  ])
    assert.ok(!isBelow(path, 'C:\\Users\\Ann'), path);
});
