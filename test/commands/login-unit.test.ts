import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  isOurUnit,
  launchdLabel,
  launchdText,
  systemdText,
  systemdUnit,
} from '../../src/commands/login-unit.ts';
import { ownDirectory, refusal } from '../platform/directory.ts';

/** Paths with characters that are special for systemd, a shell or XML. */
const awkward = [
  'plain',
  'with a space',
  'it’s 100% %h %%',
  'back\\slash \\n \\x41',
  'a "quoted" \'word\'',
  `$HOME \${HOME} $$`,
  '<a> & ]]> &amp; --',
  ';|&#*?',
];

test('a property list parser reads every path as it was written', () => {
  for (const word of awkward) {
    const words = [`/opt/${word}/mint-ssh`, 'agent', '--stay', '--config-dir', `/home/${word}`];
    const script =
      'import json,plistlib,sys; print(json.dumps(plistlib.loads(sys.stdin.buffer.read()), sort_keys=True))';
    const read = execFileSync('/usr/bin/python3', ['-c', script], {
      input: launchdText(words),
      encoding: 'utf8',
    });
    assert.deepEqual(JSON.parse(read), {
      Label: launchdLabel,
      ProgramArguments: words,
      RunAtLoad: true,
      KeepAlive: { SuccessfulExit: false },
      SoftResourceLimits: { Core: 0 },
      HardResourceLimits: { Core: 0 },
      ProcessType: 'Background',
    });
  }
});

test('systemd reads every word as it was written', (context) => {
  const home = ownDirectory(context);
  const [units, runtime] = [join(home, '.config/systemd/user'), join(home, 'run')];
  for (const directory of [units, runtime]) mkdirSync(directory, { recursive: true, mode: 0o700 });
  writeFileSync(join(units, systemdUnit), systemdText(['/bin/echo', ...awkward, '']));
  // systemd --user refuses to run as root.
  const isRoot = process.getuid?.() === 0;
  if (isRoot) execFileSync('chown', ['-R', '65534', home]);
  const program = ['/usr/lib/systemd/systemd', '--user', '--test', `--unit=${systemdUnit}`];
  const [command = '', ...args] = [
    ...(isRoot ? ['setpriv', '--reuid=65534', '--clear-groups'] : []),
    ...program,
  ];
  const shown = spawnSync(command, args, {
    encoding: 'utf8',
    env: { PATH: process.env['PATH'], HOME: home, XDG_RUNTIME_DIR: runtime },
    timeout: 60_000,
  });
  // systemd prints the words quoted for a shell; it expands `$$` only when it runs the command.
  const line = /Command Line: (\/bin\/echo .*)$/m.exec(shown.stdout + shown.stderr)?.[1] ?? '';
  const script = `printf '%s\\n' ${line}`;
  const read = execFileSync('sh', ['-c', script], { encoding: 'utf8' }).replaceAll('$$', '$');
  assert.deepEqual(read.split('\n').slice(0, -1), ['/bin/echo', ...awkward, ''], shown.stderr);
});

test('systemd-analyze accepts the unit, and finds the program at every path', (context) => {
  const directory = ownDirectory(context);
  for (const [index, word] of awkward.entries()) {
    const at = join(directory, String(index), word);
    mkdirSync(at, { recursive: true });
    const program = join(at, 'mint-ssh');
    writeFileSync(program, '#!/bin/sh\n');
    chmodSync(program, 0o755);
    const unit = join(directory, String(index), systemdUnit);
    writeFileSync(unit, systemdText([program, 'agent', '--stay', '--config-dir', at]));
    const { status, stdout, stderr } = spawnSync('systemd-analyze', ['verify', '--user', '--man=no', unit], {
      encoding: 'utf8',
      env: { ...process.env, XDG_RUNTIME_DIR: directory },
    });
    const said = `${stdout}${stderr}`.split('\n').filter((line) => line.includes('mint-ssh'));
    assert.deepEqual([status, said], [0, []], word);
  }
});

test('a unit is ours if install wrote its first lines', () => {
  for (const text of [systemdText(['/mint-ssh', 'agent']), launchdText(['/mint-ssh', 'agent'])]) {
    assert.ok(isOurUnit(text));
    assert.ok(isOurUnit(`${text}# edited\n`));
    for (const other of [text.replace(/^.*Written by.*\n/m, ''), `\n\n\n${text}`])
      assert.ok(!isOurUnit(other), other);
  }
  for (const other of ['', 'x', '[Service]\nExecStart=/opt/other\n']) assert.ok(!isOurUnit(other), other);
});

test('a path that cannot be written into a unit is refused', () => {
  for (const render of [systemdText, launchdText]) {
    assert.throws(() => render(['/a\nb/mint-ssh']), refusal('ssh-config-unsafe', /control character/));
  }
  assert.throws(() => systemdText(["/a'b=c/mint-ssh"]), refusal('ssh-config-unsafe', /equals sign/));
});
