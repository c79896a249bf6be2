import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { answerOf, askCommand, askOnTerminal, askWithout, onTerminal, pathOf, prompt } from './asked.ts';

/** The environment of a desktop with an askpass program that says `says`, and what the program was told. */
function scripted(context: TestContext, says: string) {
  const directory = mkdtempSync(join(tmpdir(), 'mint-askpass-'));
  context.after(() => rmSync(directory, { recursive: true, force: true }));
  const log = join(directory, 'log');
  writeFileSync(log, '');
  const env = { SSH_ASKPASS: pathOf('askpass.sh'), ASKPASS: says, ASKPASS_LOG: log, DISPLAY: ':0' };
  return { env, directory, log: () => readFileSync(log, 'utf8') };
}

function runs(log: string): string[] {
  return [...log.matchAll(/^\[hint: (\w+)\]/gm)].map(([, hint = '']) => hint);
}

describe('the question through SSH_ASKPASS', () => {
  for (const [says, expected] of [
    ['yes', 'yes'],
    ['Yes', 'yes'],
    ['SHA256:abcDEF', 'yes'],
    ['sha256:abcdef', 'no'],
    ['no', 'no'],
    ['y', 'no'],
    ['a passphrase', 'no'],
    ['fail', 'no'],
    ['fail-yes', 'no'],
    ['flood', 'no'],
    ['killed', 'no'],
  ] as const) {
    test(`the output ${says} means ${expected}`, async (context) => {
      const { env, log } = scripted(context, says);
      assert.equal(await answerOf(askWithout({ env })), expected);
      assert.deepEqual(runs(log()), ['confirm']);
    });
  }

  for (const [says, expected] of [
    ['silent,yes', 'yes'],
    ['newline,SHA256:abcDEF', 'yes'],
    ['silent,no', 'no'],
    ['silent,silent', 'no'],
    ['newline,newline', 'no'],
    ['silent,fail', 'no'],
  ] as const) {
    test(`a mere click asks for the word: ${says} is a ${expected}`, async (context) => {
      const { env, log } = scripted(context, says);
      assert.equal(await answerOf(askWithout({ env })), expected);
      assert.deepEqual(runs(log()), ['confirm', 'none']);
    });
  }

  test('SSH_ASKPASS=/bin/true, with which scripts silence ssh, accepts nothing', async () => {
    const env = { SSH_ASKPASS: 'true', SSH_ASKPASS_REQUIRE: 'force' };
    assert.equal(await answerOf(askWithout({ env })), 'no');
  });

  test('gives it one argument: the frame and the prompt, without colours and control characters', async (context) => {
    const { env, log } = scripted(context, 'no');
    const framed = '\x1b[1;31m====\x1b[0m\n  VM: dev\x07\x00$(date)\n====\n';
    assert.equal(await answerOf(askWithout({ env: { ...env, TERM: 'xterm' }, question: { framed } })), 'no');
    assert.equal(
      log(),
      `[hint: confirm] [arguments: 1]\n====\n  VM: dev\\u{7}\\u{0}$(date)\n====\n${prompt}\n`,
    );
  });

  for (const says of ['hang', 'hang-in-child', 'stubborn']) {
    test(`a program that does not answer (${says}) is ended at the time limit`, async (context) => {
      const { env } = scripted(context, says);
      for (const question of [{ seconds: 1 }, { withdrawAfter: 500 }]) {
        const child = askWithout({ env, question });
        assert.equal(await answerOf(child), 'timeout');
        assert.ok((await child.done).milliseconds < 60_000);
        child.kill('SIGKILL');
      }
    });
  }

  test('a missing program, or one that cannot be run, cannot ask', async (context) => {
    const { env, directory } = scripted(context, 'yes');
    const plain = join(directory, 'plain');
    writeFileSync(plain, '#!/bin/sh\necho yes\n');
    chmodSync(plain, 0o644);
    for (const program of [join(directory, 'none'), plain, directory, '']) {
      assert.equal(
        await answerOf(askWithout({ env: { ...env, SSH_ASKPASS: program } })),
        'cannot-ask',
        program,
      );
    }
  });
});

describe('the choice between the terminal and SSH_ASKPASS', () => {
  const display = { DISPLAY: ':0', WAYLAND_DISPLAY: '' };
  const wayland = { DISPLAY: '', WAYLAND_DISPLAY: 'wayland-0' };
  const none = { DISPLAY: '', WAYLAND_DISPLAY: '' };

  for (const [require, displays, without, otherwise] of [
    [undefined, display, 'program', 'terminal'],
    [undefined, wayland, 'program', 'terminal'],
    [undefined, none, 'cannot-ask', 'terminal'],
    ['never', display, 'cannot-ask', 'terminal'],
    ['prefer', display, 'program', 'program'],
    ['prefer', wayland, 'program', 'program'],
    ['prefer', none, 'cannot-ask', 'terminal'],
    ['force', none, 'program', 'program'],
    ['FORCE', none, 'program', 'program'],
    ['something', display, 'program', 'terminal'],
  ] as const) {
    const shown = Object.entries(displays).filter(([, value]) => value !== '');
    test(`SSH_ASKPASS_REQUIRE=${require} with ${shown.join(' ') || 'no display'}: ${without} without a terminal, else the ${otherwise}`, async (context) => {
      const { env } = scripted(context, 'yes');
      const all = { ...env, ...displays, ...(require && { SSH_ASKPASS_REQUIRE: require }) };
      assert.equal(await answerOf(askWithout({ env: all })), without === 'program' ? 'yes' : 'cannot-ask');
      const child = askOnTerminal({ env: all });
      if (otherwise === 'terminal') {
        await child.until(/\(yes\/no\/\[fingerprint\]\)\? /);
        child.stdin.write('no\n');
      }
      assert.equal(await answerOf(child), otherwise === 'terminal' ? 'no' : 'yes');
    });
  }

  test('a background job on a desktop asks through the program', async (context) => {
    const { env } = scripted(context, 'yes');
    const child = onTerminal('exec bash --norc --noprofile -i', env);
    await child.until(/\$ /);
    child.stdin.write(`${askCommand()} &\n`);
    await child.until(/\[answer: yes\]/);
    child.stdin.write('exit\n');
    await child.done;
  });
});
