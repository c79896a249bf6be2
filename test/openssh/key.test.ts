/** `mint-ssh key` through real logins, on a VM whose user has a home directory of the test's own. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import { publicKeyLine } from '../../src/ssh/key-encoding.ts';
import { readTerminalQr } from '../cli/terminal-qr.ts';
import { certify, hostileComments, makeKey, securityKeyLine } from '../keys/key-lines.ts';
import { loginUser, makeWorld, mintProgram, type Result, type World } from './world.ts';

describe('mint-ssh key', { timeout: 300_000 }, () => {
  /** The VM's side: made before the world, because its sshd is told of it. */
  const remote = mkdtempSync('/tmp/mk-');
  const [home, wrapper] = [join(remote, 'home'), join(remote, 'wrapper')];
  const [ssh, file] = [join(home, '.ssh'), join(home, '.ssh', 'authorized_keys')];
  const canary = join(remote, 'canary');
  let world: World;
  let line: string;
  let fingerprint: string;

  before(async () => {
    world = await makeWorld({
      vms: {
        dev: {
          sshdLines: [
            `AuthorizedKeysFile ${file}`,
            // The test must not touch the real ~/.ssh of its user.
            `ForceCommand ${wrapper}`,
            `SetEnv HOME=${home} MINT_SSHD=${remote}`,
          ],
        },
      },
    });
    line = makeKey(remote, 'phone', '-t', 'ed25519');
    const shown = execFileSync('ssh-keygen', ['-lf', join(remote, 'phone.pub')], { encoding: 'utf8' });
    fingerprint = shown.split(' ')[1] ?? '';
  });

  after(async () => {
    await world.end();
    rmSync(remote, { recursive: true, force: true });
  });

  beforeEach(() => {
    rmSync(home, { recursive: true, force: true });
    mkdirSync(home, { mode: 0o700 });
    wrap('');
  });

  /** What runs before each command on the VM. */
  function wrap(text: string): void {
    writeFileSync(
      wrapper,
      `#!/bin/sh\n${text}\n[ "$HOME" = '${home}' ] || exit 99\neval "$SSH_ORIGINAL_COMMAND"\n`,
    );
    chmodSync(wrapper, 0o755);
  }

  function content(): string {
    return readFileSync(file, 'utf8');
  }

  function put(text: string): void {
    mkdirSync(ssh, { recursive: true, mode: 0o700 });
    writeFileSync(file, text, { mode: 0o600 });
  }

  async function key(...words: string[]): Promise<string> {
    const { status, stdout, stderr } = await world.mint('key', ...words);
    assert.equal(status, 0, stderr);
    return `${stderr}${stdout}`;
  }

  async function refused(code: string, ...words: string[]): Promise<Result> {
    const result = await world.mint('key', ...words);
    assert.notEqual(result.status, 0, result.stdout);
    assert.match(result.stderr, new RegExp(`^mint-ssh: error: .* \\(${code}\\)$`, 'm'));
    assert.equal(result.stdout, '');
    return result;
  }

  /** Logs in like a phone: with the key only, without mint-ssh. */
  function plainSsh(name: string, ...options: string[]): Promise<Result> {
    const { port, hostKey } = world.sshd('dev');
    const knownHosts = join(remote, 'known_hosts');
    writeFileSync(knownHosts, `[127.0.0.1]:${port} ${hostKey.line}\n`);
    const words = `-F none -o BatchMode=yes -o IdentityAgent=none -o IdentitiesOnly=yes -o UserKnownHostsFile=${knownHosts}`;
    const own = ['-i', join(remote, name), '-p', String(port), ...options];
    return world.run('ssh', [...words.split(' '), ...own, `${loginUser}@127.0.0.1`, 'echo in']);
  }

  test('a client with an added key logs in without mint-ssh, gets all it needs, and is removed again', async () => {
    assert.equal((await plainSsh('phone')).status, 255);
    const told = await key('add', 'dev', join(remote, 'phone.pub'));
    const { port, hostKey } = world.sshd('dev');
    assert.equal(
      told,
      [
        `mint-ssh: dev now accepts ${fingerprint} (ED25519)`,
        'host:     127.0.0.1',
        `port:     ${port}`,
        `user:     ${loginUser}`,
        `host key: ${hostKey.fingerprint} (ssh-ed25519)`,
        '',
      ].join('\n'),
    );
    assert.deepEqual([content(), (statSync(file).mode & 0o777).toString(8)], [`${line}\n`, '600']);
    assert.equal((await plainSsh('phone')).stdout, 'in\n');

    assert.match(
      await key('list', 'dev'),
      new RegExp(`^FINGERPRINT.*\n${fingerprint.replaceAll('+', '\\+')}  ssh-ed25519  phone +never\n$`),
    );
    assert.equal(await key('remove', 'dev', fingerprint), `mint-ssh: removed ${fingerprint} from dev\n`);
    assert.equal(content(), '');
    assert.equal((await plainSsh('phone')).status, 255);
    const { stderr } = await refused('key-not-found', 'remove', 'dev', fingerprint);
    assert.match(stderr, /hint: run: mint-ssh key list dev/);
    const events = (world.file('audit.log') ?? '').trimEnd().split('\n');
    const keys = events.map((each) => JSON.parse(each)).filter(({ event }) => event.startsWith('key-'));
    assert.deepEqual(
      keys.map((each) => [each.event, each.command, each.vm_name, each.user, each.key_fingerprint]),
      [
        ['key-added', 'key add', 'dev', loginUser, fingerprint],
        ['key-removed', 'key remove', 'dev', loginUser, fingerprint],
      ],
    );
  });

  test('accepts a key as words, as a file or on stdin, with its own comment or another', async () => {
    await key('add', 'dev', line);
    assert.equal(content(), `${line}\n`);
    await key('remove', 'dev', fingerprint);
    await key('add', 'dev', ...line.split(' '));
    assert.equal(content(), `${line}\n`);
    await key('remove', 'dev', fingerprint);
    const { status, stdout } = await world.run(
      mintProgram,
      ['key', 'add', 'dev', '-', '--comment', "o'phone $(x)", '--json'],
      { input: line },
    );
    assert.equal(status, 0);
    assert.equal(content(), `${line.replace(/phone$/, "o'phone $(x)")}\n`);
    const { port, hostKey } = world.sshd('dev');
    assert.deepEqual(JSON.parse(stdout), {
      vm: 'dev',
      outcome: 'added',
      fingerprint,
      type: 'ssh-ed25519',
      comment: "o'phone $(x)",
      expires_at: null,
      host: '127.0.0.1',
      port,
      user: loginUser,
      host_key_fingerprint: hostKey.fingerprint,
      host_key_type: 'ssh-ed25519',
    });
  });

  test('does not add a key twice, and does not change other lines', async () => {
    const there = `# mine\r\n\nno-pty ${line.replace(/phone$/, 'old name')}\r\n${securityKeyLine('ed25519')}`;
    put(there);
    assert.match(await key('add', 'dev', line), /^mint-ssh: dev already accepts SHA256/);
    assert.equal(content(), there);
    await refused('key-exists', 'add', 'dev', line, '--expires', '1d');
    assert.equal(content(), there);
    await key('remove', 'dev', fingerprint);
    assert.equal(content(), `# mine\r\n\n${securityKeyLineOf(there)}`);
  });

  const securityKeyLineOf = (text: string) => text.split('\n').at(-1) ?? '';

  test('an expiry is set in the VM’s time, works in sshd, and can be renewed', async () => {
    const told = await key('add', 'dev', line, '--expires', '30d');
    assert.match(
      told,
      /^mint-ssh: dev now accepts SHA256:\S+ \(ED25519\), until \d{4}-\d\d-\d\d \d\d:\d\d by its clock$/m,
    );
    const [, end = ''] = /^expiry-time="(\d{14})" ssh-ed25519 /.exec(content()) ?? [];
    const expected = execFileSync('env', ['-u', 'TZ', 'date', '-d', '30 days', '+%Y%m%d'], {
      encoding: 'utf8',
    });
    assert.equal(end.slice(0, 8), expected.trim());
    assert.equal((await plainSsh('phone')).stdout, 'in\n');

    put(content().replace(/"\d{4}/, '"2020'));
    assert.equal((await plainSsh('phone')).status, 255);
    assert.match(await key('list', 'dev'), / expired 2020-/);
    await refused('key-exists', 'add', 'dev', line);
    assert.match(
      await key('add', 'dev', line, '--expires', '1h'),
      /^mint-ssh: dev accepts with a new expiry/,
    );
    assert.equal(content().split('\n').length, 2);
    assert.equal((await plainSsh('phone')).stdout, 'in\n');
    const [entry] = JSON.parse(await key('list', 'dev', '--json')) as [
      { expires_at: string; expired: boolean },
    ];
    assert.equal(entry.expired, false);
    assert.match(entry.expires_at, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d$/);
    await refused('usage', 'add', 'dev', line, '--expires', '1y');
    await refused('usage', 'list', 'dev', '--expires', '1d');
  });

  test('adds security keys, and the key inside a certificate, which logs in with it and without', async () => {
    const token = securityKeyLine('ecdsa');
    await key('add', 'dev', token);
    const certificate = certify(remote, line, '-V', '+1h');
    const told = await key('add', 'dev', certificate);
    assert.match(told, /takes no certificates: the key inside is used/);
    assert.deepEqual(
      content()
        .split('\n')
        .map((text) => text.split(' ')[0]),
      ['sk-ecdsa-sha2-nistp256@openssh.com', 'ssh-ed25519', ''],
    );
    writeFileSync(join(remote, 'cert.pub'), `${certificate}\n`);
    assert.equal((await plainSsh('phone')).stdout, 'in\n');
    assert.equal(
      (await plainSsh('phone', '-o', `CertificateFile=${join(remote, 'cert.pub')}`)).stdout,
      'in\n',
    );
    // A certificate that someone added to the file is listed and removed by the key inside.
    put(`${certificate}\n${token}\n`);
    await key('remove', 'dev', fingerprint);
    assert.equal(content(), `${token}\n`);
  });

  test('no shell reads a hundred hostile comments and hostile options', async () => {
    put('# theirs\n');
    const comments = hostileComments(canary);
    const waiting = comments.map((comment) => {
      const bare = publicKeyLine(generateKeyPairSync('ed25519').publicKey);
      return { bare, comment };
    });
    const wanted = ['# theirs'];
    const addAll = async () => {
      for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
        const { bare, comment } = next;
        const input = `${bare} ${comment}\n`;
        const { status, stderr } = await world.run(mintProgram, ['key', 'add', 'dev', '-'], { input });
        if (status === 0) wanted.push(`${bare} ${comment.trim()}`.trim());
        else assert.match(stderr, /\(key-invalid\)$/m, comment);
      }
    };
    await Promise.all([addAll(), addAll(), addAll()]);
    assert.ok(
      comments.length >= 100 && wanted.length > 60,
      `${wanted.length} of ${comments.length} were kept`,
    );
    assert.deepEqual(content().split('\n').sort(), ['', ...wanted].sort());
    assert.deepEqual(readdirSync(ssh), ['authorized_keys']);
    const bare = line.split(' ').slice(0, 2).join(' ');
    for (const option of [
      `command="touch ${canary}"`,
      'cert-authority',
      `environment="X=$(touch ${canary})"`,
    ]) {
      await refused('key-options', 'add', 'dev', `${option} ${line}`);
    }
    put(`${bare} \u001b[2J\u202e$(touch ${canary})\n`);
    const listed = await key('list', 'dev');
    assert.ok(!listed.includes('\u001b') && !listed.includes('\u202e'));
    await key('remove', 'dev', fingerprint);
    assert.ok(!existsSync(canary));
    assert.deepEqual(readdirSync(home), ['.ssh']);
  });

  test('a private key given by mistake is not sent', async () => {
    const { stderr } = await refused('key-private', 'add', 'dev', join(remote, 'phone'));
    assert.match(stderr, /hint: give the public key/);
    await refused('key-private', 'add', 'dev', '--', readFileSync(join(remote, 'phone'), 'utf8'));
    assert.deepEqual(readdirSync(home), []);
    await refused('io-failed', 'add', 'dev', join(remote, 'nothing'));
    const large = join(remote, 'large');
    writeFileSync(large, 'x'.repeat(70_000));
    await refused('key-invalid', 'add', 'dev', large);
  });

  test('four simultaneous additions are all in the file', async () => {
    const lines = ['a', 'b', 'c', 'd'].map((name) => makeKey(remote, name, '-t', 'ed25519'));
    await Promise.all(lines.map((each) => key('add', 'dev', each)));
    assert.deepEqual(content().trim().split('\n').sort(), [...lines].sort());
    assert.deepEqual(readdirSync(ssh), ['authorized_keys']);
  });

  test('a full disk on the VM: the old file is unchanged, with an error', async () => {
    const old = `${securityKeyLine('ed25519', 'x'.repeat(850))}\n`;
    put(old);
    // A file may grow to 1,024 bytes and no further.
    wrap('ulimit -f 2');
    const { stderr } = await refused('io-failed', 'add', 'dev', line);
    assert.match(
      stderr,
      /on dev, the new authorized_keys could not be written.*\n.*hint: the file is unchanged/,
    );
    assert.deepEqual([content(), readdirSync(ssh)], [old, ['authorized_keys']]);
  });

  test('ssh explains a failed login, and mint-ssh an unknown VM', async () => {
    await refused('vm-not-found', 'list', 'build');
    await refused('bad-vm-name', 'list', '-oProxyCommand=x').catch(() =>
      refused('usage', 'list', '-oProxyCommand=x'),
    );
    await refused('usage', 'add', 'dev');
    await refused('usage', 'remove', 'dev', 'MD5:00');
    wrap('exit 1');
    await refused('io-failed', 'list', 'dev');
  });

  test('on a terminal wide enough, a scanner reads the connection off a QR code; elsewhere there is none', async () => {
    const { port } = world.sshd('dev');
    const link = `ssh://${loginUser}@127.0.0.1:${port}`;
    const onTerminal = async (columns: number, more = '', env = {}) => {
      const words = `key add dev '${join(remote, 'phone.pub')}' ${more}`;
      const shell = `stty cols ${columns}; exec '${mintProgram}' ${words}`;
      const options = { env: { TERM: 'xterm', ...env }, holdInput: true };
      const { status, stdout } = await world.run('script', ['-qec', shell, '/dev/null'], options);
      assert.equal(status, 0, stdout);
      return stdout;
    };
    for (const variables of [{}, { NO_COLOR: '1' }]) {
      const shown = await onTerminal(80, '', variables);
      const [, code = ''] = shown.split(`${link}\r\n`);
      assert.equal(readTerminalQr(code.trimEnd()), link, shown);
    }
    for (const [columns, more] of [
      [40, '--json'],
      [25, ''],
    ] as const)
      assert.doesNotMatch(await onTerminal(columns, more), /█|ssh:\/\//);
    assert.doesNotMatch(await onTerminal(80, '', { TERM: 'dumb' }), /█/);
    assert.doesNotMatch(await key('add', 'dev', join(remote, 'phone.pub')), /█|ssh:\/\//);
  });
});
