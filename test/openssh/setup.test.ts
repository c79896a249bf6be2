/** The first day with `mint-ssh setup`: from the installed program without files to three logins. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { startSshd } from './sshd.ts';
import { loginUser, makeWorld, type Sshd, type World, waitFor } from './world.ts';

const canBindPort22 = process.getuid?.() === 0 && loginUser === 'root';
const addresses = { build: '127.0.0.81', data: '127.0.0.82', dev: '127.0.0.83' };

describe('mint-ssh setup', { timeout: 180_000, skip: !canBindPort22 && 'needs port 22' }, () => {
  let world: World;
  const sshds: Sshd[] = [];
  const ids = new Map<string, string>();
  before(async () => {
    world = await makeWorld({ vms: {}, withoutSshConfig: true });
    world.cloud.images.set('ami-0000000000000000c', { name: 'nixos/24.11', owner: '427812963091' });
    for (const [name, address] of Object.entries(addresses)) {
      const id = `i-${randomBytes(9).toString('hex').slice(1)}`;
      ids.set(name, id);
      const image = 'ami-0000000000000000c';
      world.cloud.instances.set(id, {
        ...{ id, region: 'us-east-1', state: 'running', address, image },
        tags: { Name: name },
      });
      const authorizedKeys = join(world.directory, 'keys', id);
      sshds.push(
        await startSshd({
          directory: join(world.directory, `vm-${name}`),
          authorizedKeys,
          address,
          port: 22,
        }),
      );
    }
    rmSync(join(world.configDir, 'ssh.toml'), { force: true });
  });
  after(async () => {
    for (const sshd of sshds) await sshd.stop({ sessions: true });
    await world.end();
  });
  const setup = (...words: string[]) => world.mint('setup', '--file', world.sshConfigFile, ...words);

  test('requires names without a terminal, and suggests the nearest one for a misspelt name', async () => {
    const unasked = await setup();
    assert.equal(unasked.status, 2);
    assert.match(unasked.stderr, /picking VMs needs a terminal \(usage\)\n.*name them: mint-ssh setup /);
    const misspelt = await setup('bulid', '--yes');
    assert.equal(misspelt.status, 1);
    assert.match(
      misspelt.stderr,
      /no VM named bulid \(vm-not-found\)\n.*did you mean: mint-ssh setup build\n/,
    );
    assert.equal(existsSync(join(world.configDir, 'ssh.toml')), false);
  });

  test('writes nothing if it cannot ask for approval', async () => {
    const { status, stdout, stderr } = await setup('build');
    assert.equal(status, 2, stderr);
    assert.match(stdout, /to be added to .*ssh\.toml":\n\n\[vm\.build\]\ninstance = "i-/);
    assert.equal(existsSync(join(world.configDir, 'ssh.toml')), false);
    assert.equal(existsSync(world.sshConfigFile), false);
  });

  test('one command, and plain ssh reaches three VMs', async (context) => {
    const { status, stderr, milliseconds } = await setup('build', 'data', 'dev', '--yes');
    assert.equal(status, 0, stderr);
    for (const name of ids.keys()) {
      assert.match(stderr, new RegExp(`${name}: logged in as root, port 22`));
      const login = await world.ssh(name, 'echo hello');
      assert.deepEqual([login.status, login.stdout], [0, 'hello\n'], login.stderr);
    }
    context.diagnostic(`setup of three VMs took ${Math.round(milliseconds)} ms`);
    assert.ok(milliseconds < 60_000);
    const toml = readFileSync(join(world.configDir, 'ssh.toml'), 'utf8');
    assert.ok(toml.includes(`[vm.build]\ninstance = "${ids.get('build')}"\nuser = "root"\nport = 22\n`));
  });

  test('keeps the user’s text in ssh.toml, and does not add an entry twice', async () => {
    const path = join(world.configDir, 'ssh.toml');
    const own = `# mine\nstart = "never"\n\n[vm.build]\ninstance = "${ids.get('build')}"\nuser = "root"\nport = 22`;
    writeFileSync(path, own, { mode: 0o600 });
    const { status, stderr } = await setup('build', 'data', '--yes');
    assert.equal(status, 0, stderr);
    const after = readFileSync(path, 'utf8');
    assert.ok(after.startsWith(`${own}\n\n[vm.data]\n`), after);
    assert.equal(after.match(/\[vm\.build\]/g)?.length, 1);
  });

  test('tries the usual users if the image has another user than the VM', async () => {
    world.cloud.images.set('ami-0000000000000000c', { name: 'debian-12-amd64', owner: '136693071363' });
    rmSync(join(world.configDir, 'ssh.toml'));
    rmSync(join(world.configDir, 'cache'), { recursive: true });
    const { status, stderr, stdout } = await setup('dev', '--yes');
    // The VM has none of the usual users: it reports the problem of the first one, and writes nothing.
    assert.equal(status, 1, stdout);
    assert.match(stderr, /dev: .*\(login-refused\)\n/);
    assert.equal(existsSync(join(world.configDir, 'ssh.toml')), false);
    const users = world.cloud.pushes.slice(-3).map(({ user }) => user);
    assert.deepEqual(users.toSorted(), ['admin', 'ec2-user', 'ubuntu'].toSorted());
  });

  test('on a terminal VMs are marked with the keyboard, and Ctrl-C is status 130', async () => {
    world.cloud.images.set('ami-0000000000000000c', { name: 'nixos/24.11', owner: '427812963091' });
    rmSync(join(world.configDir, 'cache'), { recursive: true, force: true });
    const line = `${world.program} setup --file ${world.sshConfigFile}`;
    const options = { env: { TERM: 'xterm' }, holdInput: true };
    const child = world.start('script', ['-qec', line, '/dev/null'], options);
    await child.until(/Space marks/);
    child.stdin.write(' \r');
    await child.until(/Write this\? \(yes\/no\)/, 60_000);
    child.stdin.write('y\r');
    await child.until(/ready: ssh/, 60_000);
    child.stdin.end();
    assert.equal((await child.done).status, 0);
    const cancelled = world.start('script', ['-qec', line, '/dev/null'], options);
    await cancelled.until(/Space marks/);
    cancelled.stdin.write('\u0003');
    await waitFor('it to end', 15_000, () => cancelled.stdout.length > 0);
    cancelled.stdin.end();
    assert.equal((await cancelled.done).status, 130);
  });
});

describe('mint-ssh alone', { timeout: 60_000 }, () => {
  let world: World;
  before(async () => {
    world = await makeWorld({ vms: { build: {}, dev: {} } });
  });
  after(() => world.end());

  test('on a terminal it is a list to pick from: letters filter, Enter logs in', async () => {
    const env = { TERM: 'xterm', COLUMNS: '80' };
    const child = world.start('script', ['-qec', world.program, '/dev/null'], { env, holdInput: true });
    await child.until(/Enter connects/);
    child.stdin.write('dev');
    await child.until(/VM:[^\n]* dev/);
    child.stdin.write('\r');
    await waitFor('the session', 20_000, () => world.sshd('dev').accepted() > 0);
    child.stdin.write('exit\r');
    child.stdin.end();
    assert.equal((await child.done).status, 0);
    assert.equal(world.sshd('build').accepted(), 0);
  });

  test('Escape leaves it without any action', async () => {
    const child = world.start('script', ['-qec', world.program, '/dev/null'], {
      env: { TERM: 'xterm' },
      holdInput: true,
    });
    await child.until(/Enter connects/);
    child.stdin.write('q');
    child.stdin.end();
    assert.equal((await child.done).status, 0);
  });
});
