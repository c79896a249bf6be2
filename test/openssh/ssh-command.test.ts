/** `mint-ssh ssh VM`: real ssh with a generated config, and the user's own after it. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { join, relative } from 'node:path';
import { type TestContext, test } from 'node:test';
import { ownDirectory } from '../platform/directory.ts';
import { waitFor } from './child.ts';

const root = join(import.meta.dirname, '../..');
const main = join(root, 'src/main.ts');

interface Place {
  readonly mint: string;
  readonly temporary: string;
}

function place(context: TestContext): Place {
  const directory = ownDirectory(context);
  const made = { mint: join(directory, 'mint'), temporary: join(directory, 'tmp') };
  for (const path of Object.values(made)) mkdirSync(path, { mode: 0o700 });
  const settings = '[vm.dev]\ninstance = "i-0123456789abcdef0"\nhost = "127.0.0.1"\n';
  writeFileSync(join(made.mint, 'ssh.toml'), settings, { mode: 0o600 });
  return made;
}

/** Temporary files and directories that are still there, wherever a command may have put them. */
function filesLeft(at: Place): string[] {
  const scratch = readdirSync(join(at.mint, 'run')).filter((name) => name.startsWith('scratch-'));
  return [...readdirSync(at.temporary), ...scratch];
}

function words({ mint }: Place, ...more: string[]): string[] {
  return [main, 'ssh', '--config-dir', mint, ...more];
}

function mintSsh(at: Place, ...more: string[]) {
  const env = { ...process.env, TMPDIR: at.temporary };
  return spawnSync(process.execPath, words(at, ...more), { encoding: 'utf8', env });
}

test('ssh gets our values first, and the arguments after -- unchanged', (context) => {
  const at = place(context);
  const outcome = mintSsh(at, 'Dev', '--', '-G', '-o', 'SendEnv=A B', '-p', '2222');
  assert.equal(outcome.status, 0, outcome.stderr);
  assert.match(outcome.stdout, /^hostname dev$/m);
  assert.match(outcome.stdout, /^port 2222$/m);
  assert.match(outcome.stdout, /^stricthostkeychecking true$/m);
  assert.match(outcome.stdout, /^sendenv B$/m);
  assert.ok(outcome.stdout.includes(`\nuserknownhostsfile ${at.mint}/hosts/dev.known_hosts\n`));
  assert.ok(outcome.stdout.includes(`--config-dir "${at.mint}" dev %p %r\n`));
});

test('passes our own options to the proxy', (context) => {
  const at = place(context);
  const { stdout } = mintSsh(
    at,
    '--region',
    'us-east-2',
    '--profile',
    "it's 100%",
    '--timing',
    'dev',
    '--',
    '-G',
  );
  assert.ok(stdout.includes(` --profile 'it'\\''s 100%%' --region 'us-east-2' --timing dev %p %r\n`), stdout);
});

test("the exit status is ssh's own, and no file stays behind", (context) => {
  const at = place(context);
  assert.equal(mintSsh(at, 'dev', '--', '-o', 'ProxyCommand=exit 0', 'true').status, 255);
  assert.equal(mintSsh(at, 'dev', '--', '-o', 'NoSuchOption=1').status, 255);
  assert.deepEqual(filesLeft(at), []);
});

test('a signal ends ssh as well, and then no file stays behind', async (context) => {
  const at = place(context);
  const child = spawn(
    process.execPath,
    words(at, 'dev', '--', '-o', 'ProxyCommand=cat 3>&1 >/dev/null', 'true'),
    {
      env: { ...process.env, TMPDIR: at.temporary },
      stdio: 'ignore',
    },
  );
  context.after(() => child.kill('SIGKILL'));
  await waitFor('ssh to run', 15_000, () => sshRuns(child.pid));
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  // ssh has a handler of its own for SIGTERM and leaves with 255.
  assert.ok([143, 255].includes((await ended) as number));
  assert.deepEqual(filesLeft(at), []);
});

function sshRuns(parent: number | undefined): boolean {
  const { stdout } = spawnSync('ps', ['-o', 'args=', '--ppid', String(parent)], { encoding: 'utf8' });
  return stdout.split('\n').some((line) => line.startsWith('ssh -F') && line.includes('cat 3>&1 >/dev/null'));
}

test('an invalid name, a missing one, and a command on both sides of -- are refused', (context) => {
  const at = place(context);
  assert.equal(mintSsh(at, '../x').status, 2);
  assert.match(mintSsh(at, '../x').stderr, /\(bad-vm-name\)/);
  assert.match(mintSsh(at, '--', '-oProxyCommand=x').stderr, /missing argument: VM \(usage\)/);
  assert.match(mintSsh(at, 'dev', 'uptime', '--', '-v').stderr, /put all of it after --/);
  assert.equal(mintSsh(at).status, 2);
});

test('reports a machine without ssh', (context) => {
  const at = place(context);
  const env = { ...process.env, PATH: at.temporary };
  const { status, stderr } = spawnSync(process.execPath, words(at, 'dev'), { encoding: 'utf8', env });
  assert.equal(status, 1);
  assert.match(stderr, /there is no ssh on this machine \(io-failed\)\n.*openssh-client/);
});

/** A mount of the test's own is the only way to try `~/.ssh/config` itself without touching the real one. */
const namespace = [
  ['unshare', '-m'],
  ['unshare', '-rm'],
].find(
  ([command = '', ...flags]) =>
    spawnSync(command, [...flags, 'mount', '-t', 'tmpfs', 'none', '/mnt']).status === 0,
);
const needsNamespace = namespace === undefined ? 'this machine allows no mount namespaces' : false;

test('~/.ssh/config itself: written, seen by plain ssh, seen behind our block, restored', {
  skip: needsNamespace,
}, (context) => {
  const at = place(context);
  const home = namespace?.includes('-rm') ? '/root' : userInfo().homedir;
  // The home directory may be where this checkout is: it is seen through another door.
  const checkout = join(at.temporary, 'checkout');
  mkdirSync(checkout);
  const throughIt = (path: string) => (path.startsWith(root) ? join(checkout, relative(root, path)) : path);
  const script = `
    node="$1"; main="$2"; mint="$3"; out="$4"
    mount --bind "$5" "$out/checkout"
    mount -t tmpfs -o mode=700 none "$HOME"
    "$node" "$main" ssh-config --config-dir "$mint" --yes >/dev/null 2>&1
    stat -c %a "$HOME/.ssh" "$HOME/.ssh/config" >"$out/modes"
    ssh -G dev >"$out/plain"
    "$node" "$main" ssh-config --config-dir "$mint" --remove --yes >/dev/null 2>&1
    ls -A "$HOME/.ssh" >"$out/left"
    printf 'Host *\\n  User me\\n  ForwardAgent yes\\n  ServerAliveInterval 7\\n' >"$HOME/.ssh/config"
    "$node" "$main" ssh --config-dir "$mint" dev -- -G >"$out/behind"
    mkdir -p "$HOME/.config/mint"; cp "$mint/ssh.toml" "$HOME/.config/mint"; chmod 700 "$HOME/.config/mint"
    "$node" "$main" ssh-config --dry-run >"$out/default" 2>/dev/null
  `;
  const [command = '', ...flags] = namespace ?? [];
  const programs = [process.execPath, main].map(throughIt);
  const args = [...flags, 'sh', '-ec', script, 'sh', ...programs, at.mint, at.temporary, root];
  const env = { ...process.env, HOME: home, MINT_CONFIG_DIR: '' };
  const outcome = spawnSync(command, args, { encoding: 'utf8', env, cwd: '/' });
  assert.equal(outcome.status, 0, outcome.stderr);
  const out = (name: string) => readFileSync(join(at.temporary, name), 'utf8');
  assert.equal(out('modes'), '700\n600\n');
  assert.ok(out('plain').includes(`\nidentityagent ${at.mint}/run/agent/dev.sock\n`));
  assert.equal(out('left'), '');
  assert.match(out('behind'), /^user ubuntu$/m);
  assert.match(out('behind'), /^serveraliveinterval 7$/m);
  // In the default directory the proxy needs no option for it.
  assert.match(out('default'), /ProxyCommand ".*\/dist\/mint-ssh" proxy dev %p %r$/m);
  assert.ok(!existsSync(join(at.mint, 'ssh_config')));
});
