import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { waitFor } from '../openssh/child.ts';
import { MovableClock } from '../openssh/faketime.ts';
import { answerOf, askCommand, askOnTerminal, onTerminal, prompt } from './asked.ts';

const asked = /\(yes\/no\/\[fingerprint\]\)\? /;
const again = "Please type 'yes', 'no' or the fingerprint: ";

/** A clock for the programs of one test, at the real time until it is set. */
function makeClock(context: TestContext): MovableClock {
  const directory = mkdtempSync(join(tmpdir(), 'mint-clock-'));
  context.after(() => rmSync(directory, { recursive: true, force: true }));
  return new MovableClock(join(directory, 'clock'));
}

function count(text: string, part: string): number {
  return text.split(part).length - 1;
}

describe('the question on a terminal', () => {
  for (const [typed, expected] of [
    ['yes\n', 'yes'],
    ['  yes \n', 'yes'],
    ['YES\n', 'yes'],
    ['SHA256:abcDEF\n', 'yes'],
    ['no\n', 'no'],
    ['\n', 'no'],
    ['\x04', 'no'],
  ] as const) {
    test(`${JSON.stringify(typed)} is a ${expected}`, async () => {
      const child = askOnTerminal();
      await child.until(asked);
      child.stdin.write(typed);
      assert.equal(await answerOf(child), expected);
      assert.ok(!child.stdout.includes(again), child.stdout);
    });
  }

  test('shows the frame above the prompt, in bold red on a terminal with colours', async () => {
    for (const [env, colour] of [
      [{ TERM: 'xterm' }, true],
      [{ TERM: 'xterm', NO_COLOR: '1' }, false],
      [{ TERM: 'dumb' }, false],
    ] as const) {
      const child = askOnTerminal({ env });
      await child.until(asked);
      child.stdin.write('no\n');
      assert.equal(await answerOf(child), 'no');
      const [on, off] = colour ? ['\x1b[1;31m', '\x1b[0m'] : ['', ''];
      const frame = ['==========', '  KEY CHANGED', '=========='].map((line) => `${on}${line}${off}`);
      const shown = [...frame, '  now seen: SHA256:abcDEF', prompt].join('\r\n');
      assert.ok(child.stdout.includes(shown), JSON.stringify(child.stdout));
    }
  });

  test('asks again after an answer that is neither yes nor no; the third one is a no', async () => {
    const child = askOnTerminal();
    await child.until(asked);
    for (const [typed, times] of [
      ['y', 1],
      ['sha256:abcdef', 2],
    ] as const) {
      child.stdin.write(`${typed}\n`);
      await waitFor('the question to be asked again', 15_000, () => count(child.stdout, again) === times);
    }
    child.stdin.write('yes please\n');
    assert.equal(await answerOf(child), 'no');
    assert.equal(count(child.stdout, again), 2);
  });

  test('a yes after garbage is a yes', async () => {
    const child = askOnTerminal();
    await child.until(asked);
    child.stdin.write(`${'x'.repeat(2000)}\n`);
    await child.until(/Please type/);
    child.stdin.write('yes\n');
    assert.equal(await answerOf(child), 'yes');
  });

  test('escapes control characters in the question and in the answer', async () => {
    const framed = 'VM: \x1b]0;title\x07\x1b[2Jdev\r\x9b1m\u202e';
    const child = askOnTerminal({ question: { framed } });
    await child.until(asked);
    child.stdin.write('\x1b[Ayes\n');
    await child.until(/Please type/);
    child.stdin.write('no\n');
    assert.equal(await answerOf(child), 'no');
    const typedFrom = child.stdout.indexOf(prompt);
    assert.doesNotMatch(child.stdout.slice(1, typedFrom), /[^\n\r -~]|\r(?!\n)/);
    assert.match(child.stdout, /VM: .*dev\\u\{d\}/);
  });

  test('times out without an answer, and discards a partial one', async (context) => {
    const clock = makeClock(context);
    const command = `${askCommand({ seconds: 240 })}; read -r line; echo "[left: $line]"`;
    const child = onTerminal(command, clock.environment);
    await child.until(asked);
    child.stdin.write('ye');
    await child.until(/\? ye/);
    clock.set(200);
    assert.equal(await Promise.race([child.done, sleep(300, 'waits')]), 'waits');
    assert.doesNotMatch(child.stdout, /\[answer/);
    clock.set(241);
    await child.until(/\[answer: timeout\]/);
    child.stdin.write('s\n');
    await child.until(/\[left: s\]/);
    await child.done;
  });

  test('ends at once when the question is withdrawn', async () => {
    const child = askOnTerminal({ question: { seconds: 240, withdrawAfter: 300 } });
    assert.equal(await answerOf(child), 'timeout');
    assert.ok((await child.done).milliseconds < 60_000);
  });

  for (const ahead of ['yes\n', 'yes\nSHA256:abcDEF\nyes\n', 'yes']) {
    test(`${JSON.stringify(ahead)}, typed before the question, does not answer it`, async (context) => {
      const directory = mkdtempSync(join(tmpdir(), 'mint-question-'));
      context.after(() => rmSync(directory, { recursive: true, force: true }));
      const go = join(directory, 'go');
      const isUnfinished = !ahead.endsWith('\n');
      const clock = makeClock(context);
      const command = `echo ready; until [ -e ${go} ]; do sleep 0.05; done; exec ${askCommand({ seconds: 240 })}`;
      const child = onTerminal(command, clock.environment);
      await child.until(/ready/);
      child.stdin.write(ahead);
      // The terminal echoes what it has taken in.
      const echoed = ahead.replaceAll('\n', '\r\n');
      await waitFor('the echo', 15_000, () => child.stdout.includes(echoed));
      writeFileSync(go, '');
      await child.until(asked);
      if (isUnfinished) {
        // The end of the line alone must not make an answer of the word typed before.
        child.stdin.write('\n');
        assert.equal(await answerOf(child), 'no');
      } else {
        // Long enough for several polls, each of which would take the word as the answer.
        assert.equal(await Promise.race([child.done, sleep(300, 'waits')]), 'waits');
        clock.set(241);
        assert.equal(await answerOf(child), 'timeout');
      }
    });
  }

  test('leaves the terminal as it was', async () => {
    const child = onTerminal(`stty -a >&2; ${askCommand()}; stty -a`);
    await child.until(asked);
    child.stdin.write('yes\n');
    const { stdout } = await child.done;
    const states = stdout.match(/^speed .*;\r\n(?:.*\r\n)*?.*-echoprt.*$/gm) ?? [];
    assert.equal(states.length, 2, stdout);
    assert.equal(states[0], states[1]);
  });

  test('ends without an answer when the terminal is closed', async (context) => {
    const directory = mkdtempSync(join(tmpdir(), 'mint-question-'));
    context.after(() => rmSync(directory, { recursive: true, force: true }));
    const answerTo = join(directory, 'answer');
    const clock = makeClock(context);
    const child = askOnTerminal({ env: clock.environment, question: { seconds: 240, answerTo } });
    await child.until(asked);
    child.kill('SIGKILL');
    await child.done;
    clock.set(241);
    const answer = await waitFor(
      'an answer',
      15_000,
      () => existsSync(answerTo) && readFileSync(answerTo, 'utf8'),
    );
    assert.match(answer, /^(?:no|timeout)$/);
  });
});

describe('the question and job control', () => {
  const shell = 'exec bash --norc --noprofile -i';

  test('a background job does not ask, does not use the terminal, and continues', async () => {
    const child = onTerminal(shell);
    await child.until(/\$ /);
    child.stdin.write(`${askCommand()} &\n`);
    await child.until(/\[answer: cannot-ask\]/);
    child.stdin.write('jobs; exit\n');
    const { stdout } = await child.done;
    assert.doesNotMatch(stdout, /Stopped/);
    assert.equal(count(stdout, prompt), 0);
  });

  test('stopped with Ctrl-Z and brought back, it asks again', async () => {
    const child = onTerminal(shell);
    await child.until(/\$ /);
    child.stdin.write(`${askCommand({ seconds: 240 })}\n`);
    await child.until(asked);
    child.stdin.write('\x1a');
    await child.until(/Stopped/);
    child.stdin.write('fg\n');
    await waitFor('the question to be asked again', 15_000, () => count(child.stdout, prompt) === 2);
    child.stdin.write('yes\n');
    await child.until(/\[answer: yes\]/);
    child.stdin.write('exit\n');
    await child.done;
  });

  test('in the background, it does not use the terminal until it is in the foreground again', async () => {
    const child = onTerminal(shell);
    await child.until(/\$ /);
    child.stdin.write(`${askCommand({ seconds: 240 })}\n`);
    await child.until(asked);
    child.stdin.write('\x1a');
    await child.until(/Stopped/);
    child.stdin.write('bg\n');
    for (const word of ['one', 'two', 'three']) {
      child.stdin.write(`echo "[shell: $((1))${word}]"\n`);
      await child.until(new RegExp(`\\[shell: 1${word}\\]`));
    }
    child.stdin.write('jobs\n');
    await child.until(/Running/);
    assert.equal(count(child.stdout, prompt), 1);
    child.stdin.write('fg\n');
    await waitFor('the question to be asked again', 15_000, () => count(child.stdout, prompt) === 2);
    child.stdin.write('SHA256:abcDEF\n');
    await child.until(/\[answer: yes\]/);
    child.stdin.write('exit\n');
    await child.done;
  });

  test('left in the background, it ends when its time is over', async (context) => {
    const clock = makeClock(context);
    const child = onTerminal(shell, clock.environment);
    await child.until(/\$ /);
    child.stdin.write(`${askCommand({ seconds: 240 })}\n`);
    await child.until(asked);
    child.stdin.write('\x1a');
    await child.until(/Stopped/);
    child.stdin.write('bg\n');
    clock.set(241);
    await child.until(/\[answer: timeout\]/);
    child.stdin.write('exit\n');
    await child.done;
  });

  test('a yes that was typed into a stopped job does not count after the time limit', async (context) => {
    const clock = makeClock(context);
    const child = onTerminal(shell, clock.environment);
    await child.until(/\$ /);
    child.stdin.write(`${askCommand({ seconds: 240 })}\n`);
    await child.until(asked);
    child.stdin.write('\x1a');
    await child.until(/Stopped/);
    clock.set(241);
    // Counts as a yes, and is harmless if the shell reads it.
    child.stdin.write('fg\nSHA256:abcDEF\n');
    await child.until(/\[answer: timeout\]/);
    child.stdin.write('exit\n');
    await child.done;
  });
});
