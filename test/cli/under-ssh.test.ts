/** The question in a ProxyCommand of the real ssh. */
import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { startChild } from '../openssh/child.ts';
import { askCommand, onTerminal, pathOf } from './asked.ts';

/** A ProxyCommand that asks, leaves the answer in a file and ends; ssh then ends before any forwarding. */
function proxy(context: TestContext) {
  const directory = mkdtempSync(join(tmpdir(), 'mint-under-ssh-'));
  context.after(() => rmSync(directory, { recursive: true, force: true }));
  const [command, answerTo, log] = ['proxy', 'answer', 'log'].map((name) => join(directory, name)) as [
    string,
    string,
    string,
  ];
  writeFileSync(command, `#!/bin/sh\nexec ${askCommand({ answerTo })}\n`);
  chmodSync(command, 0o755);
  writeFileSync(log, '');
  const words = ['-F', '/dev/null', '-o', `ProxyCommand=${command}`];
  return { words, directory, log, answer: () => readFileSync(answerTo, 'utf8') };
}

for (const [how, options] of [
  ['plain', []],
  ['with keep-alives', ['-o', 'ServerAliveInterval=1', '-o', 'ConnectTimeout=5']],
  ['with ControlPersist, which hides stderr', ['-o', 'ControlMaster=auto', '-o', 'ControlPersist=60']],
] as const) {
  for (const [typed, expected] of [
    ['yes', 'yes'],
    ['no', 'no'],
  ] as const) {
    test(`ssh in a terminal, ${how}: a typed ${typed} is a ${expected}`, async (context) => {
      const { words, directory, answer } = proxy(context);
      const control = ['-o', `ControlPath=${join(directory, 'c')}`];
      const ssh = ['ssh', ...words, ...options, ...control, 'dev'].map((word) => `'${word}'`).join(' ');
      const child = onTerminal(ssh);
      await child.until(/\(yes\/no\/\[fingerprint\]\)\? /);
      child.stdin.write(`${typed}\n`);
      await child.done;
      assert.equal(answer(), expected);
    });
  }
}

for (const [says, expected] of [
  ['yes', 'yes'],
  ['no', 'no'],
  ['silent', 'no'],
] as const) {
  test(`ssh as an editor starts it, without a terminal: ${says} is a ${expected}`, async (context) => {
    const { words, answer, log } = proxy(context);
    const env = {
      PATH: process.env['PATH'],
      SHELL: '/bin/sh',
      DISPLAY: '1',
      SSH_ASKPASS: pathOf('askpass.sh'),
    };
    const ssh = startChild(
      'ssh',
      [...words, '-v', '-T', '-D', '58190', '-o', 'ConnectTimeout=15', 'dev', 'bash'],
      {
        ...env,
        ASKPASS: says,
        ASKPASS_LOG: log,
      },
    );
    assert.equal((await ssh.done).status, 255);
    assert.equal(answer(), expected);
    assert.match(readFileSync(log, 'utf8'), /^\[hint: confirm\]/);
  });
}
