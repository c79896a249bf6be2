/** A release for this machine: made twice in two folders, installed, run, upgraded and removed. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import {
  appendFileSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { places } from '../../build/texts.ts';
import { version } from '../../src/version.ts';
import { type Result, startChild } from '../openssh/child.ts';
import { processesOf } from '../openssh/processes.ts';
import { testPath } from '../programs.ts';
import { copySources, filesIn, makeRelease, releaseEpoch, root, sumsOf } from './packaging.ts';

const directory = mkdtempSync(join(tmpdir(), 'mint-release-'));
const title = `mint-ssh-${version}-linux-x64`;
const release = join(directory, 'one/release');
const archive = join(release, `${title}.tar.gz`);
const debian = `mint-ssh_${version}_amd64.deb`;
const installed = [
  'bin/mint-ssh',
  ...Object.values(places),
  'share/doc/mint-ssh/LICENSE',
  'share/doc/mint-ssh/THIRD-PARTY-LICENSES.txt',
].sort();

let folders = 0;

/** A home, a prefix and what runs with them; nothing there yet. */
function person(): {
  home: string;
  prefix: string;
  program: string;
  run(program: string, ...words: string[]): Promise<Result>;
  install(...words: string[]): Promise<Result>;
} {
  folders += 1;
  const home = join(directory, `home${folders}`);
  mkdirSync(home, { mode: 0o700 });
  const prefix = join(home, '.local');
  const environment = { PATH: testPath, HOME: home, LANG: 'C.UTF-8', MINT_CONFIG_DIR: join(home, 'mint') };
  const run = (program: string, ...words: string[]) =>
    startChild(program, words, environment, { cwd: home, timeout: 120_000 }).done;
  return {
    home,
    prefix,
    program: join(prefix, 'bin/mint-ssh'),
    run,
    install: (...words) => run(join(release, 'install.sh'), ...words),
  };
}

/** A folder with the release's archive, install.sh and a SHA256SUMS of the test. */
function folderWith(sums: string | undefined, name = basename(archive)): string {
  folders += 1;
  const folder = join(directory, `download${folders}`);
  mkdirSync(folder);
  copyFileSync(archive, join(folder, name));
  if (sums !== undefined) writeFileSync(join(folder, 'SHA256SUMS'), sums);
  return join(folder, name);
}

describe('a release', { timeout: 600_000 }, () => {
  before(
    async () => {
      const two = join(directory, 'another/place/release');
      // At once, in folders of different depth, in different time zones.
      await Promise.all([
        makeRelease(
          copySources(join(directory, 'one/checkout')),
          ['--target', 'linux-x64', '--output', release],
          'UTC',
        ),
        makeRelease(
          copySources(join(directory, 'another/place/sources')),
          ['--target', 'linux-x64', '--no-debian', '--output', two],
          'Asia/Tokyo',
        ),
      ]);
    },
    { timeout: 600_000 },
  );
  after(() => rmSync(directory, { recursive: true, force: true }));

  test('has the same bytes when it is made again in another folder', () => {
    const { [debian]: made, ...one } = sumsOf(release);
    assert.ok(made !== undefined);
    assert.deepEqual(sumsOf(join(directory, 'another/place/release')), one);
    assert.deepEqual(Object.keys(one).sort(), [
      'install.sh',
      `${title}.tar.gz`,
      `mint-ssh-${version}.cdx.json`,
    ]);
    for (const [name, sum] of Object.entries(sumsOf(release)))
      assert.equal(
        createHash('sha256')
          .update(readFileSync(join(release, name)))
          .digest('hex'),
        sum,
      );
  });

  test('has an archive of at most 45 MB with everything in it, dated and owned alike', async () => {
    assert.ok(statSync(archive).size <= 45e6, `${statSync(archive).size}`);
    const { run } = person();
    const { stdout } = await run(
      'tar',
      '--list',
      '--verbose',
      '--numeric-owner',
      '--utc',
      '--full-time',
      '-zf',
      archive,
    );
    const entries = stdout.trimEnd().split('\n');
    const date = new Date(releaseEpoch * 1000).toISOString().replace('T', ' ').slice(0, 19);
    for (const entry of entries)
      assert.match(entry, new RegExp(`^[-d]rw[-x]r-[-x]r-[-x] 0/0 +\\d+ ${date} ${title}/`));
    assert.deepEqual(
      entries.map((entry) => entry.split(`${title}/`)[1]).sort(),
      ['', 'mint-ssh', ...Object.keys(places), 'LICENSE', 'README.md', 'THIRD-PARTY-LICENSES.txt'].sort(),
    );
  });

  let installedOnce: ReturnType<typeof person> | undefined;

  describe('installed', () => {
    before(async () => {
      const someone = person();
      const { status, stdout, stderr } = await someone.install('--from', archive);
      assert.equal(status, 0, stderr);
      assert.match(stdout, /^checked .*against SHA256SUMS$/m);
      for (const place of installed) assert.match(stdout, new RegExp(`^installed .*/${place}$`, 'm'));
      assert.match(stdout, /note: .*\/bin is not on your PATH/);
      installedOnce = someone;
    });

    test('has the program, its manual page, the completions and the licences, and nothing else', () => {
      const { home, program } = installedOnce ?? assert.fail();
      assert.deepEqual(
        filesIn(home),
        installed.map((place) => `.local/${place}`),
      );
      assert.equal(statSync(program).mode & 0o777, 0o755);
      assert.ok(statSync(program).size <= 118e6, `${statSync(program).size}`);
    });

    test('starts from its code cache, without output on stderr', async () => {
      const { run, program } = installedOnce ?? assert.fail();
      const { status, stdout, stderr } = await run(program, '--version');
      assert.deepEqual([status, stdout, stderr], [0, `mint-ssh ${version}\n`, '']);
    });

    test('has the licences, and a bill of materials', () => {
      const { prefix } = installedOnce ?? assert.fail();
      const licences = readFileSync(join(prefix, 'share/doc/mint-ssh/THIRD-PARTY-LICENSES.txt'), 'utf8');
      const bill = JSON.parse(readFileSync(join(release, `mint-ssh-${version}.cdx.json`), 'utf8')) as {
        bomFormat: string;
        metadata: { timestamp: string; component: { name: string; version: string } };
        components: { name: string; version: string; group?: string; hashes?: unknown[] }[];
      };
      assert.equal(bill.bomFormat, 'CycloneDX');
      assert.equal(bill.metadata.timestamp, new Date(releaseEpoch * 1000).toISOString());
      assert.deepEqual(
        [bill.metadata.component.name, bill.metadata.component.version],
        ['mint-ssh', version],
      );
      const names = bill.components.map(({ name, group }) =>
        group === undefined ? name : `${group}/${name}`,
      );
      for (const name of [
        'ssh2',
        'age-encryption',
        '@aws-sdk/client-ec2-instance-connect',
        'toml-eslint-parser',
      ]) {
        assert.ok(names.includes(name), `${name} in the bill of materials`);
        assert.match(licences, new RegExp(`^${name} \\d`, 'm'));
      }
      assert.ok(!names.includes('typescript'), 'what only checks is not in the program');
      assert.match(licences, /Apache License[\s\S]*Node\.js is licensed for use as follows/);
    });

    test('needs no library that a fresh Debian lacks', async () => {
      const { run, program } = installedOnce ?? assert.fail();
      const { stdout } = await run('ldd', program);
      const libraries = [...stdout.matchAll(/^\s*(\S+) =>/gm)].map(([, name = '']) => name);
      const base = [
        'libdl.so.2',
        'libstdc++.so.6',
        'libm.so.6',
        'libgcc_s.so.1',
        'libpthread.so.0',
        'libc.so.6',
      ];
      assert.ok(libraries.length > 0, stdout);
      assert.deepEqual(
        libraries.filter((name) => !base.includes(name)),
        [],
      );
    });

    test('passes its own demo', async () => {
      const { run, program } = installedOnce ?? assert.fail();
      const { status, stdout, stderr } = await run(program, 'demo');
      assert.equal(status, 0, stderr);
      assert.match(stdout, /^Done: /m);
    });

    test('is upgraded under a running agent, which continues', async () => {
      const { run, program, install, home } = installedOnce ?? assert.fail();
      const agent = startChild(program, ['agent'], {
        PATH: testPath,
        HOME: home,
        MINT_CONFIG_DIR: join(home, 'mint'),
      });
      try {
        await agent.until(/the agent listens on/);
        const { ino } = statSync(program);
        assert.equal((await install('--from', archive)).status, 0);
        assert.notEqual(statSync(program).ino, ino, 'replaced, not overwritten');
        const { status, stdout } = await run(program, 'agent', 'status');
        assert.equal(status, 0);
        assert.match(stdout, new RegExp(`pid ${agent.pid}\\b`));
      } finally {
        agent.kill();
        await agent.done;
      }
    });
  });

  test('is installed beside another one, and removed without affecting it', async () => {
    const { install, run, home, prefix } = person();
    const other = join(home, 'other place');
    const at = (place: string, ...words: string[]) =>
      run('env', `PREFIX=${place}`, join(release, 'install.sh'), ...words);
    assert.equal((await install('--from', archive)).status, 0);
    assert.equal((await at(other, '--from', archive)).status, 0);
    assert.deepEqual(filesIn(other), installed);
    assert.deepEqual(filesIn(prefix), installed);

    const { status, stdout } = await at(other, '--uninstall');
    assert.equal(status, 0);
    for (const place of installed) assert.match(stdout, new RegExp(`^removed ${other}/${place}$`, 'm'));
    assert.ok(!existsSync(join(other, 'share')) && !existsSync(join(other, 'bin')), 'no empty folders stay');
    assert.deepEqual(filesIn(prefix), installed);
    assert.equal((await install('--uninstall')).status, 0);
    assert.deepEqual(filesIn(home), []);
    assert.equal((await install('--uninstall')).status, 0, 'a second time does no harm');
  });

  test('is removed with its agent, and lists what stays', async () => {
    const { install, run, home, program } = person();
    assert.equal((await install('--from', archive)).status, 0);
    mkdirSync(join(home, 'mint/keys'), { recursive: true, mode: 0o700 });
    writeFileSync(join(home, 'mint/ssh.toml'), 'port = 22\n', { mode: 0o600 });
    assert.equal((await run(program, 'agent', 'stop')).status, 0);
    const { status, stdout, stderr } = await install('--uninstall');
    assert.equal(status, 0, stderr);
    assert.match(stdout, /^left in place: .*\/ssh\.toml \(your settings\)$/m);
    assert.match(stdout, /^left in place: .*\/keys \(managed keys, which exist nowhere else\)$/m);
    assert.ok(existsSync(join(home, 'mint/ssh.toml')));
  });

  test('is not removed while ssh still calls it', async () => {
    const { install, run, home, program } = person();
    assert.equal((await install('--from', archive)).status, 0);
    mkdirSync(join(home, 'mint'), { mode: 0o700 });
    const settings =
      '[vm.dev]\nhost = "127.0.0.1"\ninstance = "i-0123456789abcdef0"\nregion = "eu-central-1"\n';
    writeFileSync(join(home, 'mint/ssh.toml'), settings, { mode: 0o600 });
    const config = ['ssh-config', '--file', join(home, 'ssh_config'), '--yes'];
    const written = await run(program, ...config);
    assert.equal(written.status, 0, written.stderr);

    const refused = await install('--uninstall');
    assert.equal(refused.status, 1);
    assert.match(refused.stderr, /first run: mint-ssh ssh-config --remove/);
    assert.ok(existsSync(program));
    const removed = await run(program, ...config, '--remove');
    assert.equal(removed.status, 0, removed.stderr);
    const { status, stderr } = await install('--uninstall');
    assert.equal(status, 0, stderr);
    assert.ok(!existsSync(program));
  });

  describe('is refused', () => {
    const sumsFile = () => readFileSync(join(release, 'SHA256SUMS'), 'utf8');

    async function refuses(from: string, why: RegExp): Promise<void> {
      const { install, home } = person();
      const { status, stderr } = await install('--from', from);
      assert.equal(status, 1, stderr);
      assert.match(stderr, why);
      assert.deepEqual(filesIn(home), []);
    }

    test('without a SHA256SUMS beside it', () =>
      refuses(folderWith(undefined), /there is no SHA256SUMS beside/));

    test('if SHA256SUMS has no line for it', () =>
      refuses(folderWith(sumsFile().replaceAll(title, 'another')), /SHA256SUMS has no line for/));

    test('if SHA256SUMS has two lines for it', () =>
      refuses(folderWith(sumsFile() + sumsFile()), /is not what SHA256SUMS says/));

    test('if a byte of it differs', async () => {
      const changed = folderWith(sumsFile());
      appendFileSync(changed, 'x');
      await refuses(changed, /is not what SHA256SUMS says/);
    });

    test('if it is for another machine, or not a release', async () => {
      const arm64 = basename(archive).replace('x64', 'arm64');
      await refuses(folderWith(sumsFile(), arm64), /is for another machine: this one is linux-x64/);
      await refuses(folderWith(sumsFile(), 'something.tar.gz'), /a release archive is called/);
      await refuses(join(directory, `nowhere/${title}.tar.gz`), /there is no /);
    });

    test('if its program does not run here, and the installed one stays', async () => {
      const { install, run, home, program } = person();
      mkdirSync(join(home, '.local/bin'), { recursive: true });
      writeFileSync(program, 'the old one');
      const folder = join(home, 'broken');
      mkdirSync(join(folder, title), { recursive: true });
      writeFileSync(join(folder, title, 'mint-ssh'), '#!/bin/sh\necho no such library >&2\nexit 127\n', {
        mode: 0o755,
      });
      const broken = join(folder, `${title}.tar.gz`);
      assert.equal((await run('tar', '-czf', broken, '-C', folder, title)).status, 0);
      const sum = createHash('sha256').update(readFileSync(broken)).digest('hex');
      writeFileSync(join(folder, 'SHA256SUMS'), `${sum}  ${title}.tar.gz\n`);
      const { status, stderr } = await install('--from', broken);
      assert.equal(status, 1);
      assert.match(stderr, /no such library[\s\S]*does not run on this machine/);
      assert.equal(readFileSync(program, 'utf8'), 'the old one');
      assert.deepEqual(filesIn(join(home, '.local')), ['bin/mint-ssh']);
    });
  });

  describe('from a URL', () => {
    let server: Server;
    let url: string;
    before(async () => {
      server = createServer(({ url: wanted = '' }, response) => {
        const file = join(release, basename(wanted));
        if (wanted.startsWith('/v1/') && existsSync(file)) response.end(readFileSync(file));
        else response.writeHead(404).end();
      });
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    });
    after(() => server.close());

    test('is fetched with its sums and installed', async () => {
      const { install, prefix } = person();
      const { status, stderr } = await install('--from', `${url}/v1/${basename(archive)}`);
      assert.equal(status, 0, stderr);
      assert.deepEqual(filesIn(prefix), installed);
    });

    test('does not exist: nothing is installed', async () => {
      const { install, home } = person();
      const { status, stderr } = await install('--from', `${url}/v2/${basename(archive)}`);
      assert.equal(status, 1);
      assert.match(stderr, /404[\s\S]*could not be fetched/);
      assert.deepEqual(filesIn(home), []);
    });

    test('is never fetched over plain http from elsewhere', async () => {
      const { install } = person();
      const { status, stderr } = await install('--from', `http://mint.invalid/${basename(archive)}`);
      assert.equal(status, 1);
      assert.match(stderr, /only https:\/\/ URLs are fetched/);
    });
  });

  test('is built and installed from a checkout by the machine’s npm', async () => {
    const { home, prefix, run } = person();
    const checkout = join(home, 'checkout');
    const tools = join(home, 'tools');
    for (const folder of [checkout, tools]) mkdirSync(folder);
    for (const file of ['install.sh', 'package-lock.json'])
      copyFileSync(join(root, file), join(checkout, file));
    // What the real one would do takes minutes: this one unpacks what was built before.
    const unpack = `mkdir -p dist && tar -xzf '${archive}' -C dist --strip-components=1`;
    const npm = `#!/bin/sh\necho "$*" >>"${home}/npm.log"\n[ "$*" != 'run build' ] || { ${unpack}; }\n`;
    writeFileSync(join(tools, 'npm'), npm, { mode: 0o755 });
    const install = (folder: string) =>
      run('env', `PATH=${tools}:${testPath}`, 'sh', join(folder, 'install.sh'));

    const { status, stderr } = await install(checkout);
    assert.equal(status, 0, stderr);
    assert.equal(readFileSync(join(home, 'npm.log'), 'utf8'), 'ci\nrun build\n');
    assert.deepEqual(filesIn(prefix), installed);

    writeFileSync(join(tools, 'npm'), '#!/bin/sh\necho the registry is away >&2\nexit 1\n', { mode: 0o755 });
    const failed = await install(checkout);
    assert.equal(failed.status, 1);
    assert.match(failed.stderr, /the registry is away[\s\S]*'npm ci' failed/);
    const elsewhere = await install(release);
    assert.equal(elsewhere.status, 1);
    assert.match(elsewhere.stderr, /this is not a checkout: give --from with a release archive/);
  });

  test('reports invalid arguments', async () => {
    const { install } = person();
    for (const words of [['--from'], ['--from', ''], ['--nonsense'], ['--uninstall', '--demo']])
      assert.equal((await install(...words)).status, 2, words.join(' '));
    const { status, stdout } = await install('--help');
    assert.equal(status, 0);
    assert.match(stdout, /--from FILE\|URL/);
  });

  test('installs as a Debian package, and is removed with it', async () => {
    const { run, home } = person();
    const system = join(home, 'root');
    for (const folder of ['info', 'updates', 'triggers'])
      mkdirSync(join(system, 'var/lib/dpkg', folder), { recursive: true });
    for (const file of ['status', 'available']) writeFileSync(join(system, 'var/lib/dpkg', file), '');
    // Its libraries are this machine's; the empty root has no packages that could be named for them.
    const dpkg = (...words: string[]) =>
      run('dpkg', `--root=${system}`, '--force-not-root', '--force-depends', '--log=/dev/null', ...words);
    const { status, stderr } = await dpkg('--install', join(release, debian));
    assert.equal(status, 0, stderr);
    const { stdout } = await run(join(system, 'usr/bin/mint-ssh'), '--version');
    assert.equal(stdout, `mint-ssh ${version}\n`);
    const files = filesIn(join(system, 'usr'));
    assert.deepEqual(files, [
      'bin/mint-ssh',
      'share/bash-completion/completions/mint-ssh',
      'share/doc/mint-ssh/README.md',
      'share/doc/mint-ssh/THIRD-PARTY-LICENSES.txt',
      'share/doc/mint-ssh/copyright',
      'share/fish/vendor_completions.d/mint-ssh.fish',
      'share/man/man1/mint-ssh.1.gz',
      'share/zsh/vendor-completions/_mint-ssh',
    ]);
    const fields = await run(
      'dpkg-deb',
      '--field',
      join(release, debian),
      'Version',
      'Architecture',
      'Depends',
    );
    assert.match(
      fields.stdout,
      new RegExp(`^Version: ${version}$[\\s\\S]*^Architecture: amd64$[\\s\\S]*^Depends: libc6 `, 'm'),
    );
    assert.equal((await dpkg('--purge', 'mint-ssh')).status, 0);
    assert.ok(!existsSync(join(system, 'usr/bin/mint-ssh')));
  });

  test('leaves no process behind', () => {
    assert.deepEqual(processesOf(directory), []);
  });
});
