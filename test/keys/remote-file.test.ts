/** The script for a VM, in each shell that a VM may have, with a temporary home directory. */
import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { withKey } from '../../src/keys/authorized-keys.ts';
import { changeRemoteFile, type RemoteFile } from '../../src/keys/remote-file.ts';
import { isRoot, needsRoot, ownDirectory, refusal } from '../platform/directory.ts';
import { testPath } from '../programs.ts';

interface Vm {
  readonly home: string;
  readonly ssh: string;
  readonly file: string;
  connect(command: string): ChildProcess;
}

/** Programs by name that a shell finds before all others. */
type Programs = Readonly<Record<string, string>>;

function makeVm(
  context: TestContext,
  { programs = {}, before = '' }: { programs?: Programs; before?: string } = {},
): Vm {
  const directory = ownDirectory(context);
  const [home, bin] = [join(directory, 'home'), join(directory, 'bin')];
  mkdirSync(home, { mode: 0o700 });
  mkdirSync(bin);
  for (const [name, program] of Object.entries(programs)) symlinkSync(program, join(bin, name));
  const ssh = join(home, '.ssh');
  const env = { HOME: home, PATH: `${bin}:${testPath}`, TZ: 'Pacific/Kiritimati' };
  return {
    home,
    ssh,
    file: join(ssh, 'authorized_keys'),
    connect: (command) =>
      spawn('/bin/sh', ['-c', `${before}\n${command}`], { env, stdio: ['pipe', 'pipe', 'inherit'] }),
  };
}

const nobody = 65_534;

/** The same VM, logged in to as a user who is not root. */
function asNobody(vm: Vm): Vm {
  chmodSync(join(vm.home, '..'), 0o755);
  chownSync(vm.home, nobody, nobody);
  const env = { HOME: vm.home, PATH: testPath };
  return {
    ...vm,
    connect: (command) =>
      spawn('/bin/sh', ['-c', command], {
        env,
        uid: nobody,
        gid: nobody,
        stdio: ['pipe', 'pipe', 'inherit'],
      }),
  };
}

const change = { vm: 'dev', mode: 'change', seconds: 0 } as const;

function append(vm: Vm, line: string): Promise<RemoteFile> {
  return changeRemoteFile(vm.connect, change, (file) => ({ bytes: withKey(file.bytes, line), result: file }));
}

function write(vm: Vm, content: string | Buffer, mode = 0o600): void {
  mkdirSync(vm.ssh, { recursive: true, mode: 0o700 });
  writeFileSync(vm.file, content);
  chmodSync(vm.file, mode);
}

const content = (vm: Vm) => readFileSync(vm.file, 'utf8');
const modeOf = (path: string) => (statSync(path).mode & 0o7777).toString(8);
const everyByte = Buffer.from([...Array(256).keys()]);

function found(program: string): string | undefined {
  const { stdout } = spawnSync('/bin/sh', ['-c', `command -v ${program}`], { encoding: 'utf8' });
  return stdout.trim() || undefined;
}

const tools =
  'cat cmp cp date dd dirname find ls mkdir mv printf readlink rm rmdir sleep sync tr wc basename'.split(' ');

const busybox = found('busybox') ?? '/nowhere/busybox';
const shells: Readonly<Record<string, Programs>> = {
  dash: { sh: found('dash') ?? '/nowhere/dash' },
  bash: { sh: found('bash') ?? '/nowhere/bash' },
  'busybox, with its own tools': Object.fromEntries(['sh', ...tools].map((name) => [name, busybox])),
};

for (const [name, programs] of Object.entries(shells)) {
  describe(`the script under ${name}`, () => {
    test('creates missing files as private', async (context) => {
      const vm = makeVm(context, { programs });
      const before = await append(vm, 'first');
      assert.equal(before.bytes.length, 0);
      assert.deepEqual([modeOf(vm.ssh), modeOf(vm.file), content(vm)], ['700', '600', 'first\n']);
      assert.deepEqual(readdirSync(vm.ssh), ['authorized_keys']);
    });

    test('keeps mode, order and every byte of existing lines', async (context) => {
      const vm = makeVm(context, { programs });
      write(vm, Buffer.concat([everyByte, Buffer.from('\r\n\r\nlast line without an end')]), 0o640);
      chmodSync(vm.ssh, 0o755);
      const { bytes } = await append(vm, 'new');
      const now = readFileSync(vm.file);
      assert.deepEqual(now, Buffer.concat([bytes, Buffer.from('\nnew\n')]));
      assert.deepEqual([modeOf(vm.ssh), modeOf(vm.file)], ['755', '640']);
      assert.deepEqual(readdirSync(vm.ssh), ['authorized_keys']);
    });

    test('reports the VM’s clock, and an expiry in the system’s time zone, regardless of the session’s', async (context) => {
      const vm = makeVm(context, { programs });
      const file = await changeRemoteFile(vm.connect, { ...change, seconds: 86_400 }, (at) => ({
        bytes: undefined,
        result: at,
      }));
      // The zone of the system: a session's TZ is not what sshd goes by.
      const clock = (...words: string[]) =>
        execFileSync('env', ['-u', 'TZ', 'date', ...words, '+%Y%m%d%H%M%S'], { encoding: 'utf8' }).trim();
      const seconds = (digits = '') =>
        Date.parse(`${digits.replace(/^(.{4})(..)(..)(..)(..)(..)$/, '$1-$2-$3T$4:$5:$6')}Z`) / 1000;
      const near = (shown: string | undefined, expected: string) =>
        assert.ok(Math.abs(seconds(shown) - seconds(expected)) < 20, `${shown} is not ${expected}`);
      near(file.clock.local, clock());
      near(file.clock.utc, clock('-u'));
      near(file.expiry, clock('-d', '+86400 seconds'));
      assert.ok(!existsSync(vm.file), 'nothing was put there');
    });

    test('mode look changes nothing', async (context) => {
      const vm = makeVm(context, { programs });
      const look = () =>
        changeRemoteFile(vm.connect, { vm: 'dev', mode: 'look', seconds: 0 }, (file) => ({
          bytes: undefined,
          result: file.bytes.toString(),
        }));
      assert.equal(await look(), '');
      assert.deepEqual(readdirSync(vm.home), []);
      write(vm, 'a\nb');
      chmodSync(vm.file, 0o400);
      assert.equal(await look(), 'a\nb');
      assert.deepEqual(readdirSync(vm.ssh), ['authorized_keys']);
    });

    test('eight simultaneous additions are all in the file', async (context) => {
      const vm = makeVm(context, { programs });
      write(vm, 'old\n');
      const names = [...'abcdefgh'];
      await Promise.all(names.map((line) => append(vm, line)));
      assert.deepEqual(content(vm).split('\n').sort(), ['', ...names, 'old']);
      assert.deepEqual(readdirSync(vm.ssh), ['authorized_keys']);
    });

    test('a full disk: the old file is unchanged, and nothing is left', async (context) => {
      // No file may grow over 4 blocks of 512 bytes; as root there is a real full disk below.
      const vm = makeVm(context, { programs, before: 'ulimit -f 4' });
      const old = 'x'.repeat(1_000);
      write(vm, old);
      await assert.rejects(append(vm, 'y'.repeat(4_000)), refusal('io-failed', /could not be written/));
      assert.equal(content(vm), old);
      assert.deepEqual(readdirSync(vm.ssh), ['authorized_keys']);
    });

    test('a full disk, really', { skip: needsRoot }, async (context) => {
      const vm = makeVm(context, { programs });
      mkdirSync(vm.ssh, { mode: 0o700 });
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=16k,mode=700', 'none', vm.ssh]);
      try {
        const old = 'x'.repeat(4_000);
        write(vm, old);
        for (const size of [100, 4_000, 8_000, 12_000, 60_000]) {
          await append(vm, 'y'.repeat(size)).catch(refusal('io-failed', /could not be written/));
          if (content(vm) === old) continue;
          assert.equal(content(vm), `${old}\n${'y'.repeat(size)}\n`);
          write(vm, old);
        }
        writeFileSync(join(vm.ssh, 'filler'), 'z'.repeat(12_000));
        await assert.rejects(append(vm, 'new'), (error: Error) => {
          assert.match(error.message, /on dev, the new authorized_keys could not be written/);
          return refusal('io-failed')(error);
        });
        assert.equal(content(vm), old);
        assert.deepEqual(readdirSync(vm.ssh).sort(), ['authorized_keys', 'filler']);
      } finally {
        execFileSync('umount', [vm.ssh]);
      }
    });
  });
}

test('follows a link, and replaces its target in place', async (context) => {
  const vm = makeVm(context);
  const dotfiles = join(vm.home, "it's $(a) place");
  mkdirSync(dotfiles);
  mkdirSync(vm.ssh);
  writeFileSync(join(dotfiles, 'keys'), 'old\n', { mode: 0o600 });
  symlinkSync(join('..', "it's $(a) place", 'keys'), vm.file);
  await append(vm, 'new');
  assert.equal(readFileSync(join(dotfiles, 'keys'), 'utf8'), 'old\nnew\n');
  assert.deepEqual([readdirSync(dotfiles), readdirSync(vm.ssh)], [['keys'], ['authorized_keys']]);
  assert.ok(readFileSync(vm.file, 'utf8').endsWith('new\n'));
});

test('refuses files that cannot be replaced safely, and does not change them', async (context) => {
  const dangling = makeVm(context);
  mkdirSync(dangling.ssh);
  symlinkSync('/nowhere/at/all', dangling.file);
  await assert.rejects(append(dangling, 'new'), refusal('key-file', /a link that leads to no file/));

  const directory = makeVm(context);
  mkdirSync(directory.file, { recursive: true });
  await assert.rejects(append(directory, 'new'), refusal('key-file', /not a regular file/));

  const large = makeVm(context);
  write(large, Buffer.alloc((1 << 20) + 1, 'x'));
  await assert.rejects(append(large, 'new'), refusal('key-file', /larger than 1 MB/));
  assert.equal(statSync(large.file).size, (1 << 20) + 1);
  assert.deepEqual(readdirSync(large.ssh), ['authorized_keys']);
});

test('keeps the owner of another user’s file', { skip: needsRoot }, async (context) => {
  const vm = makeVm(context);
  write(vm, 'old\n', 0o644);
  chownSync(vm.file, nobody, 12);
  await append(vm, 'new');
  const { uid, gid } = statSync(vm.file);
  assert.deepEqual([uid, gid, modeOf(vm.file), content(vm)], [nobody, 12, '644', 'old\nnew\n']);
});

test('does not replace a file whose owner it cannot restore', {
  skip: needsRoot,
}, async (context) => {
  const vm = asNobody(makeVm(context));
  write(vm, 'old\n', 0o644);
  chownSync(vm.ssh, nobody, nobody);
  await assert.rejects(append(vm, 'new'), refusal('key-file', /same owner and mode/));
  assert.equal(content(vm), 'old\n');
  assert.deepEqual([statSync(vm.file).uid, readdirSync(vm.ssh)], [0, ['authorized_keys']]);
});

test('reports a directory that cannot be written', async (context) => {
  // Root writes everywhere, and is someone else for this.
  const vm = isRoot ? asNobody(makeVm(context)) : makeVm(context);
  write(vm, 'old\n', 0o644);
  chmodSync(vm.ssh, isRoot ? 0o755 : 0o500);
  await assert.rejects(append(vm, 'new'), refusal('io-failed', /could not be written: .*Permission denied/));
  chmodSync(vm.ssh, 0o700);
  assert.equal(content(vm), 'old\n');
});

test('ignores output of a .bashrc, even if it contains our words', async (context) => {
  const noise =
    "echo welcome; echo 'mint-key-0000000000000000 done'; head -c 100000 /dev/zero; echo; echo mint-key-";
  const vm = makeVm(context, { before: noise });
  await append(vm, 'new');
  assert.equal(content(vm), 'new\n');
  const endless = makeVm(context, { before: 'yes' });
  await assert.rejects(append(endless, 'new'), refusal('io-failed', /could not open an SSH session to dev/));
});

test('a session that ends early changes nothing: before the script, and in the middle of the file', async (context) => {
  const never = makeVm(context, { before: 'exit 255' });
  await assert.rejects(append(never, 'new'), refusal('io-failed', /could not open an SSH session to dev/));

  const vm = makeVm(context);
  write(vm, 'old\n');
  const cut = (command: string) => {
    const child = vm.connect(command);
    const { stdin } = child;
    const end = stdin?.end.bind(stdin);
    // Half of what is put arrives, then the line is dead.
    if (stdin)
      stdin.end = ((bytes: Buffer) => end?.(bytes.subarray(0, bytes.length - 20))) as typeof stdin.end;
    return child;
  };
  await assert.rejects(
    append({ ...vm, connect: cut }, 'new'.repeat(20)),
    refusal('io-failed', /did not arrive whole/),
  );
  assert.deepEqual([content(vm), readdirSync(vm.ssh)], ['old\n', ['authorized_keys']]);
});

test('keeps lines that another program adds in the meantime', async (context) => {
  const vm = makeVm(context);
  write(vm, 'old\n');
  let times = 0;
  await changeRemoteFile(vm.connect, change, ({ bytes }) => {
    times += 1;
    if (times === 1) writeFileSync(vm.file, 'old\ntheirs\n');
    return { bytes: withKey(bytes, 'ours'), result: undefined };
  });
  assert.deepEqual([times, content(vm)], [2, 'old\ntheirs\nours\n']);
  assert.deepEqual(readdirSync(vm.ssh), ['authorized_keys']);
});

test('takes over an old lock of a killed script', async (context) => {
  const vm = makeVm(context);
  write(vm, 'old\n');
  const lock = join(vm.ssh, '.authorized_keys.lock');
  mkdirSync(lock);
  const past = Date.now() / 1000 - 600;
  utimesSync(lock, past, past);
  await append(vm, 'new');
  assert.deepEqual([content(vm), readdirSync(vm.ssh)], ['old\nnew\n', ['authorized_keys']]);
});
