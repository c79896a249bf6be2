import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { type TestContext, test } from 'node:test';
import { moshServerCommand, parseMoshServer, readMoshServer } from '../../src/commands/mosh-server.ts';
import { testPath } from '../programs.ts';

const key = '4NeCCgvZFe2RnPgrcU1PQw';
const ready = { kind: 'ready', port: 60_001, key };

test('reads the port and the key after other output of a shell, for every split', async () => {
  const text = `Welcome!\r\n\r\nMOSH CONNECT 60001 ${key}\r\n\r\nmosh-server (mosh 1.4.0)\n[mosh-server detached, pid = 7]\n`;
  assert.deepEqual(await readMoshServer(Readable.from([Buffer.from(text)])), ready);
  const bytes = [...Buffer.from(text)].map((byte) => Buffer.from([byte]));
  assert.deepEqual(await readMoshServer(Readable.from(bytes)), ready);
  // Without a line end behind it, where the output ends there.
  const last = Readable.from([Buffer.from(`MOSH CONNECT 60001 ${key}`)]);
  assert.deepEqual(await readMoshServer(last), ready);
});

test('a line that only begins like it is a failure, and gives neither a port nor a key', () => {
  for (const line of [
    'MOSH CONNECT',
    'MOSH CONNECT 60001',
    `MOSH CONNECT 0 ${key}`,
    `MOSH CONNECT 65536 ${key}`,
    `MOSH CONNECT 600010 ${key}`,
    `MOSH CONNECT -1 ${key}`,
    `MOSH CONNECT 60001 ${key}=`,
    `MOSH CONNECT 60001 ${key.slice(1)}`,
    `MOSH CONNECT 60001 ${key} more`,
    `MOSH CONNECT  60001 ${key}`,
    `MOSH CONNECT 6e4 ${key}`,
    `MOSH CONNECT 60001 ${'\u0000'.repeat(22)}`,
  ]) {
    assert.equal(parseMoshServer(`${line}\nMOSH CONNECT 60002 ${key}\n`)?.kind, 'failed', line);
  }
  assert.equal(parseMoshServer(`x MOSH CONNECT 60001 ${key}\n`), undefined);
});

test('quotes a server that does not start, and ends one that prints without end', async () => {
  const said = Readable.from([Buffer.from('one\nmosh-server needs a UTF-8 native locale to run.\n\n')]);
  assert.deepEqual(await readMoshServer(said), {
    kind: 'failed',
    said: 'mosh-server needs a UTF-8 native locale to run.',
  });
  assert.deepEqual(await readMoshServer(Readable.from([])), { kind: 'failed', said: '' });
  let sent = 0;
  const endless = new Readable({
    read() {
      sent += 8192;
      setImmediate(() => this.push('x'.repeat(8192)));
    },
  });
  const answer = await readMoshServer(endless);
  endless.destroy();
  assert.deepEqual([answer.kind, answer.kind === 'failed' && answer.said.length], ['failed', 200]);
  assert.ok(sent < 1_000_000, `${sent} bytes were read`);
});

function ownDirectory(context: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'mint-mosh-'));
  context.after(() => rmSync(directory, { recursive: true }));
  return directory;
}

/** The arguments that a program in place of mosh-server gets through a login shell. */
function given(context: TestContext, shell: string, command: readonly string[]): string[] {
  const directory = ownDirectory(context);
  writeFileSync(join(directory, 'mosh-server'), '#!/bin/sh\nprintf "%s\\0" "$@"\n', { mode: 0o700 });
  const environment = { LANG: 'C.UTF-8', LC_ALL: "x'; touch ran", LC_TIME: 'de_DE.UTF-8', OTHER: 'x' };
  const words = moshServerCommand({ colours: 256, command, environment });
  const env = { PATH: `${directory}:${testPath}` };
  return execFileSync(shell, ['-c', words], { encoding: 'utf8', env, cwd: directory })
    .split('\0')
    .slice(0, -1);
}

test('passes every word of the command to mosh-server unchanged, and only a valid locale', (context) => {
  const hostile = ['$(touch ran)', "it's", '; touch ran', '`id`', 'a b', '', '*', 'new\nline', '-s', '--'];
  const expected = ['new', '-s', '-c', '256', '-l', 'LANG=C.UTF-8', '-l', 'LC_TIME=de_DE.UTF-8'];
  for (const shell of ['/bin/sh', '/bin/bash']) {
    assert.deepEqual(given(context, shell, []), expected);
    assert.deepEqual(given(context, shell, hostile), [...expected, '--', ...hostile]);
  }
});

test('prints one line for a VM without mosh-server, and runs nothing else', (context) => {
  const PATH = ownDirectory(context);
  symlinkSync('/bin/sh', join(PATH, 'sh'));
  const words = moshServerCommand({ colours: 8, command: ['x'], environment: {} });
  assert.throws(
    () => execFileSync('/bin/sh', ['-c', words], { env: { PATH }, stdio: 'pipe' }),
    (error: { status: number; stdout: Buffer }) =>
      error.status === 127 && parseMoshServer(error.stdout.toString())?.kind === 'missing',
  );
});
