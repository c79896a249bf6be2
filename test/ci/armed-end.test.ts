/** The script for the VM, in the shells that a VM may have, isolated from the machine's own programs. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { armProgram, type RemoteProgram } from '../../src/ci/armed-end.ts';
import { killProcessesOf } from '../openssh/processes.ts';
import { testPath } from '../programs.ts';
import { endings } from './job-vm.ts';

const shells = [['dash'], ['bash', '--posix'], ['busybox', 'sh']].filter(
  ([program = '']) => spawnSync(program, ['-c', ':']).error === undefined,
);
const nonce = '0123456789abcdef';
const lease = '0123456789ab';

describe('the script on the VM', { concurrency: true, timeout: 300_000 }, () => {
  for (const shell of shells) {
    describe(`under ${shell[0]}`, { concurrency: 1 }, () => suite(shell));
  }
});

function suite(shell: readonly string[]): void {
  const directory = mkdtempSync('/tmp/mv-');
  const bin = join(directory, 'bin');
  mkdirSync(bin);
  after(() => {
    killProcessesOf(directory);
    rmSync(directory, { recursive: true, force: true });
  });

  /** The programs of the machine; those that are not given exist, and fail. */
  function machine(programs: Readonly<Record<string, string>>): void {
    for (const name of endings) {
      const path = join(bin, name);
      rmSync(path, { force: true });
      writeFileSync(
        path,
        `#!/bin/sh\necho "${name} $*" >>'${directory}/calls'\n${programs[name] ?? 'exit 1'}\n`,
      );
      chmodSync(path, 0o755);
    }
    // Also for programs that the script starts by name.
    writeFileSync(join(bin, 'sh'), `#!/bin/sh\nexec ${shell.map((word) => `'${word}'`).join(' ')} "$@"\n`);
    chmodSync(join(bin, 'sh'), 0o755);
    writeFileSync(join(directory, 'calls'), '');
  }

  function run({ command, input }: RemoteProgram) {
    const [program = '', ...flags] = shell;
    const child = spawn(program, [...flags, '-c', command], {
      env: { PATH: `${bin}:${testPath}`, HOME: directory },
      cwd: directory,
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    let said = '';
    child.stdout.on('data', (bytes: Buffer) => {
      said += bytes.toString();
    });
    child.stdin.write(input);
    const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
    return { ended, said: () => said.split('\n').filter((line) => line !== '') };
  }

  async function arm(programs: Readonly<Record<string, string>>, endCommand?: string): Promise<string[]> {
    machine(programs);
    const session = run(armProgram({ nonce, lease, seconds: 90, endCommand }));
    await session.ended;
    const [hello, ...rest] = session.said();
    assert.equal(hello, `mint-debug-${nonce} hello`);
    return rest.map((line) => line.replace(`mint-debug-${nonce} `, ''));
  }
  // Debian's busybox prefers its own `id`, so the rights are tested with the other shells.
  const options = { skip: shell[0] === 'busybox' };
  const calls = () => readFileSync(join(directory, 'calls'), 'utf8').trim().split('\n');
  const root = { id: 'echo 0' };
  const user = { id: 'echo 1000' };

  test('systemd is tried first, and counts once its timer runs', options, async () => {
    assert.deepEqual(await arm({ ...root, 'systemd-run': 'exit 0', systemctl: 'exit 0' }), [
      'armed systemd-run',
    ]);
    assert.deepEqual(calls().slice(1), [
      `systemd-run --unit=mint-debug-${lease} --description=end of mint-ssh debug access --on-active=90 --timer-property=AccuracySec=1s systemctl poweroff --force`,
      `systemctl is-active --quiet mint-debug-${lease}.timer`,
    ]);
    assert.deepEqual(await arm({ ...root, 'systemd-run': 'exit 0', shutdown: 'exit 0' }), ['armed shutdown']);
  });

  test(
    'shutdown comes next, whether it returns at once or stays, and by the option that it knows',
    options,
    async () => {
      assert.deepEqual(await arm({ ...root, shutdown: '[ "$1" = -P ]' }), ['armed shutdown']);
      assert.deepEqual(
        calls().filter((call) => call.startsWith('shutdown')),
        ['shutdown -P +2'],
      );
      assert.deepEqual(await arm({ ...root, shutdown: '[ "$1" = -p ]' }), ['armed shutdown']);
      assert.deepEqual(
        calls().filter((call) => call.startsWith('shutdown')),
        ['shutdown -P +2', 'shutdown -p +2'],
      );
      assert.deepEqual(await arm({ ...root, shutdown: 'sleep 3' }), ['armed shutdown']);
    },
  );

  test('the end command is tried last, and arrives unchanged', options, async () => {
    assert.deepEqual(await arm(root), ['fail end']);
    const odd = `printf '%s' "a'b\\"c $HOME é\n" >'${directory}/never'`;
    assert.deepEqual(await arm(root, odd), ['armed end-command']);
  });

  test('without root it starts nothing; with sudo it uses that for everything', options, async () => {
    assert.deepEqual(await arm({ ...user, 'systemd-run': 'exit 0', systemctl: 'exit 0' }), ['fail root']);
    assert.deepEqual(calls(), ['id -u', 'sudo -n true']);
    const sudo = 'shift; exec "$@"';
    assert.deepEqual(await arm({ ...user, sudo, 'systemd-run': 'exit 0', systemctl: 'exit 0' }), [
      'armed systemd-run',
    ]);
    assert.ok(calls().some((call) => call.startsWith('sudo -n systemd-run ')));
  });
}

test('only numbers and our own names become part of a script', () => {
  const wrong = { nonce, lease: '$(reboot)', seconds: 1, endCommand: undefined };
  assert.throws(() => armProgram(wrong), RangeError);
  assert.throws(() => armProgram({ ...wrong, lease, seconds: Number.NaN }), RangeError);
  assert.throws(() => armProgram({ ...wrong, lease, nonce: 'x; reboot' }), RangeError);
  const { command, input } = armProgram({ nonce, lease, seconds: 1, endCommand: '$(reboot)' });
  assert.match(command, /^exec sh -c 'eval "\$\(dd bs=1 count=\d+ 2>\/dev\/null\)"'$/);
  assert.ok(input.toString().endsWith('$(reboot)'), 'it follows the script, as data');
});
