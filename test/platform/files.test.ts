import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { MintError } from '../../src/errors.ts';
import {
  ensureClosedDirectory,
  ensurePrivateDirectory,
  readPrivateFile,
  writeAtomic,
} from '../../src/platform/files.ts';
import { asNobody, nobody } from '../unprivileged.ts';
import { isRoot, needsRoot, ownDirectory, refusal } from './directory.ts';

/** A normal user is root in a namespace of theirs. */
const namespaces = isRoot ? '-m' : '-rm';
const filesModule = join(import.meta.dirname, '../../src/platform/files.ts');

test('creates a missing directory with 0700, and missing parents', (context) => {
  const path = join(ownDirectory(context), 'a', 'b');
  ensurePrivateDirectory(path);
  assert.equal(statSync(path).mode & 0o777, 0o700);
  ensurePrivateDirectory(path);
});

for (const name of ['with space', "it's", '100%', '[x]', '$HOME', 'new\nline', 'dév', '(&;|#', `"q"`]) {
  test(`a directory called ${JSON.stringify(name)} works like any other`, (context) => {
    const path = join(ownDirectory(context), name);
    ensureClosedDirectory(path);
    writeAtomic(join(path, 'file'), 'x', { mode: 0o600 });
    assert.equal(readPrivateFile(join(path, 'file'), { maxBytes: 1 })?.toString(), 'x');
  });
}

test('refuses a directory that others can write to, with the command that fixes it', (context) => {
  const path = join(ownDirectory(context), "it's");
  mkdirSync(path);
  for (const mode of [0o777, 0o1777, 0o770, 0o702]) {
    chmodSync(path, mode);
    assert.throws(
      () => ensurePrivateDirectory(path),
      (error: Error & { hint?: string }) => {
        assert.ok(refusal('unsafe-permissions', /written by others \(mode/)(error));
        execFileSync('sh', ['-c', String(error.hint)]);
        return true;
      },
    );
    ensurePrivateDirectory(path);
  }
});

test('refuses a directory for sockets that others can read', (context) => {
  const path = join(ownDirectory(context), 'run');
  mkdirSync(path);
  for (const mode of [0o755, 0o750, 0o701]) {
    chmodSync(path, mode);
    ensurePrivateDirectory(path);
    assert.throws(() => ensureClosedDirectory(path), refusal('unsafe-permissions', /open to others/));
  }
});

test('refuses a directory that anyone could replace', (context) => {
  const above = join(ownDirectory(context), 'anyone');
  const path = join(above, 'between', 'mint');
  mkdirSync(path, { recursive: true, mode: 0o700 });
  chmodSync(above, 0o777);
  assert.throws(() => ensurePrivateDirectory(path), refusal('unsafe-permissions', /anyone could replace it/));
  // A home directory that its group can write to: sshd refuses that too.
  for (const mode of [0o770, 0o775, 0o720]) {
    chmodSync(above, mode);
    assert.throws(
      () => ensurePrivateDirectory(path),
      (error: MintError) => {
        assert.match(error.message, /the group \d+ could replace it/);
        assert.match(error.hint ?? '', /^chmod go-w \S+\/anyone$/);
        return error.code === 'unsafe-permissions';
      },
    );
  }
  chmodSync(above, 0o1777);
  ensurePrivateDirectory(path);
});

test('refuses a directory if another user owns one above it', { skip: needsRoot }, (context) => {
  const home = join(ownDirectory(context), 'home');
  const path = join(home, '.config', 'mint');
  mkdirSync(path, { recursive: true, mode: 0o700 });
  chownSync(home, nobody, nobody);
  const refused = refusal('unsafe-permissions', /whose owner \(uid 65534\) could replace it/);
  assert.throws(() => ensurePrivateDirectory(path), refused);
  chmodSync(home, 0o1755);
  assert.throws(() => ensurePrivateDirectory(path), refused);
});

test('refuses a link, a broken link and a file as a directory; accepts a link above it', (context) => {
  const directory = ownDirectory(context);
  mkdirSync(join(directory, 'real'), { mode: 0o700 });
  symlinkSync(join(directory, 'real'), join(directory, 'link'));
  symlinkSync(join(directory, 'nowhere'), join(directory, 'dangling'));
  writeFileSync(join(directory, 'file'), '');
  assert.throws(() => ensurePrivateDirectory(join(directory, 'link')), refusal('unsafe-permissions', /link/));
  assert.throws(
    () => ensurePrivateDirectory(join(directory, 'dangling')),
    refusal('unsafe-permissions', /link/),
  );
  assert.throws(
    () => ensurePrivateDirectory(join(directory, 'file')),
    refusal('unsafe-permissions', /not a dir/),
  );
  ensurePrivateDirectory(join(directory, 'link', 'below'));
});

test("refuses another user's directory and file", { skip: needsRoot }, (context) => {
  const directory = ownDirectory(context);
  const path = join(directory, 'theirs');
  mkdirSync(path, { mode: 0o700 });
  writeFileSync(join(directory, 'file'), 'x', { mode: 0o600 });
  chownSync(path, nobody, nobody);
  chownSync(join(directory, 'file'), nobody, nobody);
  assert.throws(
    () => ensurePrivateDirectory(path),
    refusal('unsafe-permissions', /another user \(uid 65534\)/),
  );
  assert.throws(
    () => readPrivateFile(join(directory, 'file'), { maxBytes: 10 }),
    refusal('unsafe-permissions', /another user/),
  );
});

test("a normal user reads root's file, and is refused root's directory", {
  skip: needsRoot,
}, (context) => {
  const directory = ownDirectory(context);
  chmodSync(directory, 0o755);
  mkdirSync(join(directory, 'roots'));
  writeFileSync(join(directory, 'file'), 'from root', { mode: 0o644 });
  const tried = runAsNobody(
    context,
    `
    console.log(String(readPrivateFile(${JSON.stringify(join(directory, 'file'))}, { maxBytes: 99 })));
    try { ensurePrivateDirectory(${JSON.stringify(join(directory, 'roots'))}) } catch (error) { console.log(error.code) }
    try { ensurePrivateDirectory(${JSON.stringify(join(directory, 'new'))}) } catch (error) { console.log(error.code) }
  `,
  );
  assert.deepEqual(tried, ['from root', 'unsafe-permissions', 'io-failed']);
});

test('returns undefined for a missing file, and an error code for every other problem', (context) => {
  const directory = ownDirectory(context);
  const at = (name: string) => join(directory, name);
  assert.equal(readPrivateFile(at('missing'), { maxBytes: 10 }), undefined);
  writeFileSync(at('file'), '0123456789', { mode: 0o600 });
  assert.equal(readPrivateFile(at('file'), { maxBytes: 10 })?.length, 10);
  assert.throws(
    () => readPrivateFile(at('file'), { maxBytes: 9 }),
    refusal('io-failed', /more than 9 bytes/),
  );
  assert.throws(
    () => readPrivateFile(at('file'), { maxBytes: 9, tooLarge: 'known-hosts-corrupt' }),
    refusal('known-hosts-corrupt'),
  );
  symlinkSync(at('file'), at('link'));
  assert.throws(() => readPrivateFile(at('link'), { maxBytes: 10 }), refusal('unsafe-permissions', /link/));
  mkdirSync(at('directory'));
  assert.throws(
    () => readPrivateFile(at('directory'), { maxBytes: 10 }),
    refusal('unsafe-permissions', /regular/),
  );
  chmodSync(at('file'), 0o620);
  assert.throws(
    () => readPrivateFile(at('file'), { maxBytes: 10 }),
    refusal('unsafe-permissions', /chmod|others/),
  );
  assert.throws(() => readPrivateFile(at('file/below'), { maxBytes: 10 }), refusal('io-failed', /ENOTDIR/));
});

test('refuses a pipe and a device immediately', (context) => {
  const pipe = join(ownDirectory(context), 'pipe');
  execFileSync('mkfifo', ['-m', '600', pipe]);
  assert.throws(() => readPrivateFile(pipe, { maxBytes: 10 }), refusal('unsafe-permissions', /regular/));
  if (isRoot) {
    assert.throws(
      () => readPrivateFile('/dev/zero', { maxBytes: 10 }),
      refusal('unsafe-permissions', /regular/),
    );
  }
});

test('replaces a file completely, with the given mode, and leaves no temporary file', (context) => {
  const directory = ownDirectory(context);
  const path = join(directory, 'file');
  writeAtomic(path, 'one', { mode: 0o644 });
  writeAtomic(path, Buffer.from('two'), { mode: 0o600 });
  assert.equal(readFileSync(path, 'utf8'), 'two');
  assert.equal(statSync(path).mode & 0o777, 0o600);
  assert.deepEqual(readdirSync(directory), ['file']);
});

test('replaces a link, and does not follow it', (context) => {
  const directory = ownDirectory(context);
  writeFileSync(join(directory, 'elsewhere'), 'precious');
  symlinkSync(join(directory, 'elsewhere'), join(directory, 'link'));
  writeAtomic(join(directory, 'link'), 'new', { mode: 0o600 });
  assert.equal(readFileSync(join(directory, 'elsewhere'), 'utf8'), 'precious');
  assert.equal(readFileSync(join(directory, 'link'), 'utf8'), 'new');
});

test('changes nothing if beforeRename throws', (context) => {
  const directory = ownDirectory(context);
  const path = join(directory, 'file');
  writeAtomic(path, 'old', { mode: 0o600 });
  const no = () => {
    throw new Error('no');
  };
  assert.throws(() => writeAtomic(path, 'new', { mode: 0o600, beforeRename: no }), /^Error: no$/);
  assert.equal(readFileSync(path, 'utf8'), 'old');
  assert.deepEqual(readdirSync(directory), ['file']);
});

test('keeps the old file if the new one reaches a size limit', (context) => {
  const directory = ownDirectory(context);
  const path = join(directory, 'file');
  writeAtomic(path, 'old', { mode: 0o600 });
  const [code, message] = inChild(
    ['prlimit', '--fsize=1000'],
    `try { writeAtomic(${JSON.stringify(path)}, 'x'.repeat(5000), { mode: 0o600 }) }
     catch (error) { console.log(error.code); console.log(error.message + ' ' + error.hint) }`,
  );
  assert.equal(code, 'io-failed');
  assert.match(String(message), /EFBIG.*ulimit/);
  assert.equal(readFileSync(path, 'utf8'), 'old');
  assert.deepEqual(readdirSync(directory), ['file']);
});

test('keeps the old file on a full or read-only disk', { skip: needsMount() }, (context) => {
  const directory = ownDirectory(context);
  const script = `
    import { readdirSync, readFileSync } from 'node:fs';
    const path = ${JSON.stringify(join(directory, 'file'))};
    const tell = (action) => { try { action() } catch (error) { console.log(error.code, error.message, error.hint) } };
    if (process.argv.at(-1) === 'full') tell(() => writeAtomic(path, 'x'.repeat(200_000), { mode: 0o600 }));
    else tell(() => writeAtomic(path, 'y', { mode: 0o600 }));
    console.log(readFileSync(path, 'utf8'), readdirSync(${JSON.stringify(directory)}).join());
  `;
  const lines = spawnSync(
    'unshare',
    [
      namespaces,
      'sh',
      '-ec',
      `mount -t tmpfs -o size=64k,mode=700 none "$1"; printf old > "$1/file"; chmod 600 "$1/file"
       "$2" --input-type=module -e "$3" full; mount -o remount,bind,ro "$1"; "$2" --input-type=module -e "$3" readonly`,
      'sh',
      directory,
      process.execPath,
      imports + script,
    ],
    { encoding: 'utf8' },
  );
  const [full, afterFull, readOnly, afterReadOnly] = lines.stdout.split('\n');
  assert.match(String(full), /^io-failed .*ENOSPC.*disk is full/, lines.stderr);
  assert.equal(afterFull, 'old file');
  assert.match(String(readOnly), /^io-failed .*EROFS.*read-only/);
  assert.equal(afterReadOnly, 'old file');
});

test('fails with io-failed in a directory without write permission, and leaves no file', {
  skip: needsRoot,
}, (context) => {
  const directory = ownDirectory(context);
  chmodSync(directory, 0o755);
  const path = join(directory, 'file');
  const [code, hint] = runAsNobody(
    context,
    `
    try { writeAtomic(${JSON.stringify(path)}, 'x', { mode: 0o600 }) }
    catch (error) { console.log(error.code); console.log(error.hint) }
  `,
  );
  assert.equal(code, 'io-failed');
  assert.match(String(hint), /owner and the mode/);
  assert.ok(!existsSync(path));
});

const imports = importsFrom(filesModule);

function importsFrom(module: string): string {
  return `import { ensurePrivateDirectory, readPrivateFile, writeAtomic } from ${JSON.stringify(module)};`;
}

/** Runs code in a separate process; returns the lines that it prints. */
function inChild(launcher: readonly string[], script: string): string[] {
  return run([...launcher, process.execPath, '--input-type=module', '-e', imports + script]);
}

function run(words: readonly string[]): string[] {
  const { stdout, stderr, status } = spawnSync(words[0] ?? '', words.slice(1), { encoding: 'utf8' });
  assert.equal(status, 0, stderr);
  return stdout.trim().split('\n');
}

function runAsNobody(context: TestContext, script: string): string[] {
  return run(asNobody(context, (copy) => importsFrom(join(copy, 'src/platform/files.ts')) + script));
}

function needsMount(): string | false {
  const { status } = spawnSync('unshare', [namespaces, 'mount', '-t', 'tmpfs', 'none', '/mnt']);
  return status === 0 ? false : 'this machine allows no mount namespaces';
}
