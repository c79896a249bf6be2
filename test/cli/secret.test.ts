import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { makeKey } from '../keys/key-lines.ts';
import { type Child, startChild } from '../openssh/child.ts';
import { listen } from '../openssh/impostor.ts';
import { onTerminal, pathOf } from './asked.ts';

const program = pathOf('ask-secret.ts');
const asked = /Passphrase of "x": /;

function askOnTerminal(): Child {
  return onTerminal(`'${process.execPath}' '${program}'; stty -a`);
}

/** What was typed, once the program has ended; the terminal must be as it was. */
async function answerOf(child: Child): Promise<string> {
  const { stdout } = await child.done;
  assert.match(stdout, / echo /, 'the terminal echoes again');
  assert.match(stdout, / icanon/);
  const [, kind, text = ''] = /\[(secret|no): ([^\]]*)\]/.exec(stdout) ?? [];
  return kind === 'secret' ? Buffer.from(text, 'base64').toString() : `(${text})`;
}

describe('a passphrase', () => {
  for (const [typed, expected] of [
    ['geheim\r', 'geheim'],
    ['geheim\n', 'geheim'],
    [' two words \r', ' two words '],
    ['grün€x\x7f\x7fe\r', 'grüne'],
    ['wrong\x15right\r', 'right'],
    ['\x7f\x7fa\r', 'a'],
    ['\r', ''],
    ['\x04', '(no)'],
    [`${'x'.repeat(1100)}\r`, '(no)'],
  ] as const) {
    test(`typed as ${JSON.stringify(typed.slice(0, 20))} is ${JSON.stringify(expected)}, and never shown`, async () => {
      const child = askOnTerminal();
      await child.until(asked);
      child.stdin.write(typed);
      assert.equal(await answerOf(child), expected);
      for (const word of ['geheim', 'words', 'grün', 'wrong', 'right', 'half', 'xxx']) {
        assert.ok(!child.stdout.includes(word), child.stdout);
      }
    });
  }

  test('ends at Ctrl-C: every process in the foreground gets SIGINT, and the status is 130', async () => {
    const inner = `trap 'echo "interrupted."' INT; '${process.execPath}' '${program}'; echo "status $?."; stty -a`;
    const child = onTerminal(inner);
    await child.until(asked);
    child.stdin.write('half\x03');
    const { stdout } = await child.done;
    assert.match(stdout, /interrupted\.\r\nstatus 130\.[\s\S]* icanon[\s\S]* echo /);
    assert.doesNotMatch(stdout, /half|\[no/);
  });

  test('at which Ctrl-C is pressed ends the command with status 130, without a message', async (context) => {
    const directory = mkdtempSync(join(tmpdir(), 'mint-secret-'));
    context.after(() => rmSync(directory, { recursive: true, force: true }));
    makeKey(directory, 'locked', '-t', 'ed25519', '-N', 'four words of a passphrase');
    const main = join(import.meta.dirname, '../../src/main.ts');
    const words = `--config-dir '${directory}/config' keys import lab --key-file '${directory}/locked'`;
    const child = onTerminal(`trap : INT; '${process.execPath}' '${main}' ${words}; echo "status $?."`);
    await child.until(/Passphrase of the key in .*: /);
    child.stdin.write('\x03');
    const { stdout } = await child.done;
    assert.match(stdout, /: \r\nstatus 130\.\r\n$/);
  });

  test('and an MFA code behave alike: Ctrl-C ends the command with status 130', async (context) => {
    const directory = mkdtempSync(join(tmpdir(), 'mint-secret-'));
    context.after(() => rmSync(directory, { recursive: true, force: true }));
    const role =
      'role_arn = arn:aws:iam::123456789012:role/ops\nmfa_serial = arn:aws:iam::123456789012:mfa/me\n';
    const base = '[profile base]\naws_access_key_id = AKIAX\naws_secret_access_key = x\n';
    writeFileSync(
      join(directory, 'aws'),
      `${base}[profile ops]\nsource_profile = base\nregion = us-east-1\n${role}`,
    );
    const main = join(import.meta.dirname, '../../src/main.ts');
    const words = `--config-dir '${directory}/config' vms --profile ops --region us-east-1`;
    const child = onTerminal(`trap : INT; '${process.execPath}' '${main}' ${words}; echo "status $?."`, {
      AWS_CONFIG_FILE: join(directory, 'aws'),
      AWS_SHARED_CREDENTIALS_FILE: join(directory, 'none'),
    });
    await child.until(/MFA code for .*: /);
    child.stdin.write('12\x03');
    const { stdout } = await child.done;
    assert.match(stdout, /status 130\.\r\n$/);
    assert.doesNotMatch(stdout, /error/);
  });

  test('and an MFA code, with a line of progress: Ctrl-C is status 130 at the question and behind it', async (context) => {
    const directory = mkdtempSync(join(tmpdir(), 'mint-secret-'));
    context.after(() => rmSync(directory, { recursive: true, force: true }));
    const sts = await listen(() => {});
    context.after(() => sts.close());
    writeFileSync(
      join(directory, 'aws'),
      '[profile base]\naws_access_key_id = AKIAX\naws_secret_access_key = x\n' +
        '[profile ops]\nsource_profile = base\nregion = us-east-1\n' +
        'role_arn = arn:aws:iam::123456789012:role/ops\nmfa_serial = arn:aws:iam::123456789012:mfa/me\n',
    );
    const main = join(import.meta.dirname, '../../src/main.ts');
    const words = `--config-dir '${directory}/config' vms --profile ops --region us-east-1`;
    const line = `trap : INT; '${process.execPath}' '${main}' ${words}; echo "status $?."; stty -a`;
    const environment = {
      TERM: 'xterm',
      AWS_CONFIG_FILE: join(directory, 'aws'),
      AWS_SHARED_CREDENTIALS_FILE: join(directory, 'none'),
      AWS_ENDPOINT_URL_STS: `http://127.0.0.1:${sts.port}`,
    };
    const question = /MFA code for .*: /;
    const ended = /status 130\.\r\n[\s\S]* icanon[\s\S]* echo /;

    const atQuestion = onTerminal(line, environment);
    await atQuestion.until(question);
    // Longer than the line of progress takes to appear.
    await new Promise((resolve) => setTimeout(resolve, 2000));
    atQuestion.stdin.write('12\x03');
    const first = (await atQuestion.done).stdout;
    assert.match(first, ended);
    assert.doesNotMatch(first, /asking AWS|error/);

    const behind = onTerminal(line, environment);
    await behind.until(question);
    behind.stdin.write('654321\r');
    await behind.until(/asking AWS …/);
    behind.stdin.write('\x03');
    const second = (await behind.done).stdout;
    assert.match(second, ended);
    const erased = '\r\u001b[2Kstatus 130.';
    assert.ok(second.slice(second.lastIndexOf('asking AWS …')).includes(erased), 'the line is erased');
    assert.doesNotMatch(second, /error|654321/);
  });

  test('is not overwritten by the progress of what waits for it', async () => {
    const source = (file: string) => JSON.stringify(join(import.meta.dirname, '../../src/cli', file));
    const code = `const { startProgress } = await import(${source('progress.ts')});
      const { askSecret } = await import(${source('secret.ts')});
      startProgress("waiting");
      await new Promise((resolve) => setTimeout(resolve, 1500));
      await askSecret("Secret: ");
      process.exit(0);`;
    const child = onTerminal(`'${process.execPath}' --input-type=module -e '${code}'`, { TERM: 'xterm' });
    await child.until(/waiting/);
    await child.until(/Secret: /);
    // Longer than the line takes to be updated.
    await new Promise((resolve) => setTimeout(resolve, 1500));
    child.stdin.write('\r');
    const { stdout } = await child.done;
    assert.doesNotMatch(stdout.slice(stdout.indexOf('Secret: ')), /waiting/);
  });

  test('that is not completed in time is discarded, and leaves no input for the shell', async () => {
    const child = onTerminal(`'${process.execPath}' '${program}' 2; stty -a; head -n 1 >&2`);
    await child.until(asked);
    child.stdin.write('half');
    await child.until(/\[no: timeout\][\s\S]* echo /);
    child.stdin.write('next\r');
    const { stdout } = await child.done;
    assert.doesNotMatch(stdout, /half/);
    assert.match(stdout, / icanon[\s\S]*next/);
  });

  test('leaves the terminal as it was when the program is ended in the middle', async () => {
    const child = onTerminal(
      `sh -c 'echo "pid $$."; exec "${process.execPath}" "${program}"'; echo ended; stty -a`,
    );
    const [, pid] = await child.until(/pid (\d+)\./);
    await child.until(asked);
    process.kill(Number(pid), 'SIGTERM');
    const { stdout } = await child.done;
    assert.match(stdout, /ended[\s\S]* icanon[\s\S]* echo /);
  });

  test('is asked through SSH_ASKPASS without a terminal: the first line counts, a failure is a no', async (context) => {
    const directory = mkdtempSync(join(tmpdir(), 'mint-secret-'));
    context.after(() => rmSync(directory, { recursive: true, force: true }));
    const askpass = join(directory, 'askpass');
    for (const [says, expected] of [
      [`printf 'geheim\\nmore\\n'`, 'geheim'],
      [`[ -z "$SSH_ASKPASS_PROMPT" ] && printf '%s' "$1"`, 'Passphrase of "x": '],
      ['exit 0', '(no)'],
      ['echo geheim; exit 1', '(no)'],
    ] as const) {
      writeFileSync(askpass, `#!/bin/sh\n${says}\n`);
      chmodSync(askpass, 0o700);
      const env = { PATH: process.env['PATH'], SSH_ASKPASS: askpass, SSH_ASKPASS_REQUIRE: 'force' };
      const { stdout } = await startChild(process.execPath, [program], env).done;
      const [, kind, text = ''] = /\[(secret|no): ([^\]]*)\]/.exec(stdout) ?? [];
      assert.equal(kind === 'secret' ? Buffer.from(text, 'base64').toString() : `(${text})`, expected);
    }
  });

  test('is not asked without terminal and SSH_ASKPASS, and never read from stdin', async () => {
    const env = { PATH: process.env['PATH'] };
    const { stdout } = await startChild(process.execPath, [program], env, { input: 'geheim\n' }).done;
    assert.match(stdout, /\[no: cannot-ask\]/);
  });
});
