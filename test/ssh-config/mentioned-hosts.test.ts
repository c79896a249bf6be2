/** Every spelling in which an ssh config can give a meaning to a name: each is tried with ssh itself. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { mentionedHosts } from '../../src/ssh-config/mentioned-hosts.ts';
import { ownDirectory } from '../platform/directory.ts';

/** Each gives `dev` the port 4242. DIR has a file `some dir/one.conf` that does so for `Host dev`. */
const configs: readonly string[] = [
  'Host dev\n Port 4242',
  'Host\tdev\n\tPort=4242',
  'host=dev\nport = 4242',
  'HOST = "dev"\nPort 4242',
  'Host other d?v\nPort 4242',
  "Host 'dev'\nPort 4242",
  'Host "other" dev # a comment\nPort 4242',
  'Host dev\r\nPort 4242\r',
  'Match host dev\nPort 4242',
  'Match host other,dev\nPort 4242',
  'Match originalhost dev\nPort 4242',
  'Match exec "test %h = dev"\nPort 4242',
  'Include "DIR/some dir/one.conf"',
  "Include 'DIR/some dir/one.conf'",
  'Include DIR/some\\ dir/one.conf',
  'Include DIR/some?dir/*.conf',
  'Include "DIR/some[ ]dir/[a-z]*.conf"',
  'Include=DIR/absent "DIR/some dir/one.conf"',
  'Host *\n  Include "DIR/some dir/one.conf"',
];

test('a name is mentioned, or it is uncertain, in every spelling with which ssh finds a meaning for it', (context) => {
  const directory = ownDirectory(context);
  mkdirSync(join(directory, 'some dir'));
  writeFileSync(join(directory, 'some dir/one.conf'), 'Host dev\n  Port 4242\n', { mode: 0o600 });
  const file = join(directory, 'config');
  for (const text of configs) {
    writeFileSync(file, `${text.replaceAll('DIR', directory)}\n`, { mode: 0o600 });
    const { stdout, stderr } = spawnSync('ssh', ['-F', file, '-G', 'dev'], { encoding: 'utf8' });
    assert.match(stdout, /^port 4242$/m, `${text}: ${stderr}`);
    const found = mentionedHosts([file]);
    assert.ok(found.isUncertain || found.mentions('dev'), text);
  }
});

test('an ordinary config is certain, and mentions no other name', (context) => {
  const file = join(ownDirectory(context), 'config');
  writeFileSync(file, 'Host bastion\n  User me\nHost *\n  ServerAliveInterval 30\n', { mode: 0o600 });
  const found = mentionedHosts([file]);
  assert.deepEqual(
    [found.isUncertain, found.mentions('dev'), found.mentions('bastion')],
    [false, false, true],
  );
});
