/**
 * Every command in a `sh` block of the documents: run here, or run by another test, or listed with why it cannot be.
 * And every `mint-ssh …` in their text is a command with options that there are.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { globalOptions } from '../../src/cli/arguments.ts';
import { commands, hiddenCommands } from '../../src/commands/table.ts';
import { loginUser, makeWorld, mintProgram, type World } from '../openssh/world.ts';
import { programFile } from '../programs.ts';
import { fences, pages, pageText, root, section, tableRows } from './pages.ts';

/**
 * How a command is tested: it is run unchanged (`as`: with these words instead of an ellipsis, a file or a prompt); or
 * another test runs it, a file that contains these words; or it is not run.
 */
type Handling =
  | { readonly run: true | string; readonly prints?: RegExp }
  | { readonly shown: string; readonly with: string }
  | { readonly not: string };

const release = { shown: 'test/package/release.test.ts', with: "'--from', archive" };
const otherSsh = (word: string) => ({ shown: 'test/clients/other-ssh.test.ts', with: word });
const registries = (word: string) => ({ shown: 'test/clients/registries.test.ts', with: word });

const handled: Readonly<Record<string, Readonly<Record<string, Handling>>>> = {
  'README.md': {
    'mint-ssh setup': { run: 'mint-ssh setup dev --yes --file "$SSH_CONFIG"', prints: /ready/ },
    'mint-ssh vms': { run: true, prints: /dev/ },
    'mint-ssh ssh-config dev': {
      run: 'mint-ssh ssh-config dev --yes --file "$SSH_CONFIG"',
      prints: /Include|ready/,
    },
    './install.sh --demo': {
      not: 'it builds the program these tests are running; its parts are run by release.test.ts',
    },
    './install.sh --from mint-ssh-0.1.0-linux-x64.tar.gz': release,
    'PREFIX=/opt/mint ./install.sh --from mint-ssh-0.1.0-linux-x64.tar.gz': { ...release, with: 'PREFIX=' },
    'npm install -g ./mint-ssh-0.1.0.tgz': { shown: 'test/package/npm.test.ts', with: "'--global'" },
    'sudo apt install ./mint-ssh_0.1.0_amd64.deb': { ...release, with: "'--install', join(release, debian)" },
    'ssh dev': { run: true },
    'scp report.pdf dev:': { run: true },
    'rsync -a src/ dev:src/': { run: true },
    'git clone dev:project.git': { run: true },
    'mint-ssh hosts accept dev SHA256:…': { run: 'mint-ssh hosts accept dev "$FINGERPRINT"' },
  },
  'docs/usage.md': {
    'mint-ssh key add dev "ssh-ed25519 AAAA… phone" --expires 30d': {
      run: 'mint-ssh key add dev "$PHONE" --expires 30d',
      prints: /SHA256:/,
    },
    'mint-ssh key list dev': { run: true, prints: /phone/ },
    'mint-ssh key remove dev SHA256:…': { run: 'mint-ssh key remove dev "$PHONE_FINGERPRINT"' },
    'mint-ssh job begin build-17 > user-data': {
      // cloud-init's part, on the machine that the user data is for.
      run: `mint-ssh job begin build-17 --user "$LOGIN" > user-data
        grep -o 'ssh-ed25519 [A-Za-z0-9+/=]*' user-data | head -n 1 >>"$AUTHORIZED_KEYS"`,
    },
    'mint-ssh job set build-17 --host 203.0.113.7': {
      run: 'mint-ssh job set build-17 --host 127.0.0.1 --port "$PORT"',
    },
    'mint-ssh job run build-17 --wait 10m -- make test': {
      run: 'mint-ssh job run build-17 --wait 1m -- echo tested',
      prints: /^tested$/m,
    },
    'mint-ssh job end build-17': { run: true },
    'mint-ssh keys create research': { run: true },
    'mint-ssh keys public research': { run: true, prints: /^ssh-ed25519 AAAA/ },
    'mint-ssh keys list': { run: true, prints: /research/ },
    'mint-ssh keys import lab --key-file ~/old.pem': { run: true },
    'mint-ssh keys export lab --output lab.pem --format pkcs8 --passphrase': {
      run: 'mint-ssh keys export lab --output lab.pem --format pkcs8',
    },
    'mint-ssh keys share lab --to age1… --output lab.age': {
      run: 'mint-ssh keys share lab --to "$(cat age.recipient)" --output lab.age',
    },
  },
  'docs/ci.md': {
    'aws dynamodb create-table --table-name mint-leases --billing-mode PAY_PER_REQUEST --attribute-definitions AttributeName=key,AttributeType=S --key-schema AttributeName=key,KeyType=HASH':
      { not: 'it is for the AWS CLI; test/ci/dynamo.ts makes the same table by the SDK' },
    'mint-ssh job run build-17 --debug-on-failure --project web --authorize keys/anna.pub --instance "$instance" --format github -- make test':
      { shown: 'test/ci/access.test.ts', with: "'--debug-on-failure'" },
  },
  'docs/clients.md': {
    "ssh -G dev | grep -iE '^(hostname|user|port|proxycommand|identityagent|userknownhostsfile) ' > fabric.ssh_config":
      registries('fabric.ssh_config'),
    "sed -i '1i Host dev' fabric.ssh_config": registries('fabric.ssh_config'),
    'fab -S fabric.ssh_config -H dev -- uptime': registries('uptime'),
    'export SSH_AUTH_SOCK=~/.config/mint/run/agent/dev.sock': otherSsh('SSH_AUTH_SOCK'),
    "dbclient -J 'mint-ssh proxy dev' ubuntu@dev": otherSsh('dbclient'),
    "plink -agent -proxycmd 'mint-ssh proxy dev' ubuntu@dev": otherSsh('plink'),
    "socat TCP-LISTEN:2222,bind=127.0.0.1,fork EXEC:'mint-ssh proxy dev' &": otherSsh('socat'),
    'curl --hostpubsha256 … -u ubuntu: sftp://127.0.0.1:2222/etc/hostname': otherSsh('curl'),
    'mint-ssh agent install': { shown: 'test/clients/login-unit.test.ts', with: "'install'" },
  },
};

/** How `npm run …` is tested with any options, by the script's name. */
const scripts: Readonly<Record<string, Handling>> = {
  build: { not: 'what these tests run was built by it a moment ago' },
  package: { shown: 'test/package/release.test.ts', with: 'makeRelease(' },
  'package:npm': { shown: 'test/package/npm.test.ts', with: "'build/npm.ts'" },
  'prove:windows': { not: 'it makes a whole Debian root with Wine, as root, in more than a minute' },
  'prove:debian': { not: 'it makes a whole Debian root, as root, in more than a minute' },
  bench: { not: 'its figures take many minutes; test/bench/guard.test.ts holds the ones that count' },
  soak: { not: 'two thousand logins; the tests run a few dozen of them' },
  'soak:leases': { not: 'a hundred rounds; the tests run a few' },
};

/** How a command is tested; undefined if it is not listed. */
function handlingOf(page: string, line: string): Handling | undefined {
  const own = handled[page]?.[line] ?? handled['README.md']?.[line] ?? handled['docs/usage.md']?.[line];
  return own ?? scripts[/^npm run (?:-s )?([a-z:-]+)(?: -- .*)?$/.exec(line)?.[1] ?? ''];
}

/** The commands of a page: comments and continued lines as a shell reads them. */
function commandsOf(page: string): string[] {
  return fences(page)
    .filter(({ language }) => language === 'sh')
    .flatMap(({ text }) => text.replaceAll(/\\\n\s*/g, '').split('\n'))
    .map((line) => line.replace(/(?:^|\s+)#.*$/, '').trim())
    .filter((line) => line !== '');
}

test('every command of the documents is run, shown by another test, or listed with why not', () => {
  const all = pages.flatMap((page) => commandsOf(page).map((line) => ({ page, line })));
  assert.ok(all.length > 25);
  assert.deepEqual(
    all.filter(({ page, line }) => handlingOf(page, line) === undefined),
    [],
    'test/docs/commands.test.ts has to say what becomes of these',
  );
  const gone = Object.entries(handled).flatMap(([page, lines]) => {
    const there = new Set(pages.includes(page) ? commandsOf(page) : []);
    return Object.keys(lines).filter((line) => !there.has(line));
  });
  assert.deepEqual(gone, [], 'no document has these commands any more');
});

test('the named test files contain the words, and every npm script exists', () => {
  const own = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    scripts: Readonly<Record<string, string>>;
  };
  for (const [page, lines] of Object.entries({ ...handled, 'npm run': scripts })) {
    for (const [line, how] of Object.entries(lines)) {
      if ('shown' in how) {
        assert.ok(existsSync(join(root, how.shown)), `${page}: ${line}: ${how.shown}`);
        assert.ok(readFileSync(join(root, how.shown), 'utf8').includes(how.with), `${line}: ${how.with}`);
      }
      if ('not' in how) assert.ok(how.not.length > 10, line);
    }
  }
  for (const page of pages)
    for (const [, name = ''] of pageText(page).matchAll(/\bnpm run (?:-s )?([a-z:-]+)/g))
      assert.ok(name in own.scripts, `${page}: npm run ${name}`);
});

test('docs/commands.md lists every command that the program has', () => {
  const rows = tableRows(section('docs/commands.md', '## Commands'));
  const listed = rows.flatMap(([usage = '']) => /^`mint-ssh ([a-z-]+)/.exec(usage)?.[1] ?? []);
  assert.deepEqual([...listed].sort(), Object.keys(commands).sort());
});

test('every mint-ssh that a document names has a command and options that there are', async () => {
  let seen = 0;
  for (const page of pages.filter((name) => name !== 'CHANGELOG.md')) {
    const inline = [...pageText(page).matchAll(/`mint-ssh ([^`]+)`/g)].map(([, words = '']) => words);
    const fenced = commandsOf(page).flatMap((line) => /^mint-ssh (.*)$/.exec(line)?.[1] ?? []);
    for (const words of [...inline, ...fenced]) {
      const [own = ''] = words.replaceAll('\\|', '|').split(/ -- /);
      const options = [...own.matchAll(/(?<![\w-])--([a-z][a-z-]*)/g)].map(([, option = '']) => option);
      // `COMMAND` is a placeholder.
      const word = own.split(' ').find((each) => /^[a-z]/.test(each));
      if (word === 'help' || word === 'version') continue;
      const entry = word === undefined ? undefined : (commands[word] ?? hiddenCommands[word]);
      assert.ok(word === undefined || entry !== undefined, `${page}: mint-ssh ${words}`);
      const known = { ...globalOptions, ...(await entry?.load())?.command.options };
      for (const option of options) assert.ok(option in known, `${page}: mint-ssh ${words}: --${option}`);
      seen += 1;
    }
  }
  assert.ok(seen > 50, `${seen}`);
});

describe('the commands of README and docs/usage.md', { timeout: 300_000 }, () => {
  /** The VM's side: a temporary home directory, for every user who runs the tests. */
  let remote: string;
  let home: string;
  let world: World;
  let environment: Record<string, string>;

  before(async () => {
    remote = mkdtempSync('/tmp/mint-docs-');
    home = join(remote, 'home');
    mkdirSync(join(home, '.ssh'), { recursive: true, mode: 0o700 });
    const wrapper = join(remote, 'wrapper');
    const asked = `command=\${SSH_ORIGINAL_COMMAND:-true}`;
    // A wrapper cannot start sshd's internal sftp server.
    const sftp = '[ "$command" != internal-sftp ] || command=/usr/lib/openssh/sftp-server';
    const lines = ['#!/bin/sh', `cd ${home}`, asked, sftp, 'exec sh -c "$command"', ''];
    writeFileSync(wrapper, lines.join('\n'), { mode: 0o755 });
    execFileSync('git', ['init', '-q', '--bare', join(home, 'project.git')]);
    world = await makeWorld({
      withoutSshConfig: true,
      vms: {
        dev: {
          sshdLines: [
            `AuthorizedKeysFile ${join(home, '.ssh/authorized_keys')}`,
            `ForceCommand ${wrapper}`,
            `SetEnv HOME=${home} MINT_SSHD=${remote}`,
          ],
        },
      },
    });
    const bin = join(world.directory, 'bin');
    mkdirSync(bin);
    symlinkSync(mintProgram, join(bin, 'mint-ssh'));
    // ssh finds ~/.ssh/config by the user database, where the person who runs the tests has theirs.
    for (const name of ['ssh', 'scp'])
      writeFileSync(join(bin, name), `#!/bin/sh\nexec ${programFile(name)} -F "$SSH_CONFIG" "$@"\n`, {
        mode: 0o755,
      });
    const here = world.home;
    mkdirSync(join(here, 'src'));
    writeFileSync(join(here, 'src/main.c'), 'int main;\n');
    writeFileSync(join(here, 'report.pdf'), 'a report\n');
    const kinds = { phone: ['ed25519'], 'old.pem': ['rsa', '-b', '2048', '-m', 'PEM'] };
    for (const [name, kind] of Object.entries(kinds))
      execFileSync('ssh-keygen', ['-q', '-N', '', '-C', name, '-f', join(here, name), '-t', ...kind]);
    execFileSync('age-keygen', ['-o', join(here, 'age.key')], { stdio: 'ignore' });
    writeFileSync(join(here, 'age.recipient'), execFileSync('age-keygen', ['-y', join(here, 'age.key')]));
    const fingerprintOf = (file: string) =>
      execFileSync('ssh-keygen', ['-lf', file], { encoding: 'utf8' }).split(' ')[1] ?? '';
    environment = {
      PATH: `${bin}:${world.environment['PATH'] ?? ''}`,
      SSH_CONFIG: world.sshConfigFile,
      PHONE: readFileSync(join(here, 'phone.pub'), 'utf8').trim(),
      PHONE_FINGERPRINT: fingerprintOf(join(here, 'phone.pub')),
      LOGIN: loginUser,
      PORT: String(world.sshd('dev').port),
      AUTHORIZED_KEYS: join(home, '.ssh/authorized_keys'),
      FINGERPRINT: world.sshd('dev').hostKey.fingerprint,
    };
  });
  after(async () => {
    await world.end();
    rmSync(remote, { recursive: true, force: true });
  });

  for (const line of new Set(['README.md', 'docs/usage.md'].flatMap(commandsOf))) {
    const how = handlingOf('README.md', line);
    if (how === undefined || !('run' in how)) continue;
    test(line, async () => {
      const script = how.run === true ? line : how.run;
      const { status, stdout, stderr } = await world.run('sh', ['-euc', script], {
        env: environment,
        cwd: world.home,
      });
      assert.equal(status, 0, stderr);
      if (how.prints !== undefined) assert.match(stdout + stderr, how.prints);
    });
  }

  test('did what they say', () => {
    assert.equal(readFileSync(join(home, 'report.pdf'), 'utf8'), 'a report\n');
    assert.equal(readFileSync(join(home, 'src/main.c'), 'utf8'), 'int main;\n');
    assert.ok(existsSync(join(world.home, 'project/.git')));
    assert.doesNotMatch(readFileSync(join(home, '.ssh/authorized_keys'), 'utf8'), /phone/);
    assert.match(readFileSync(join(world.home, 'lab.pem'), 'utf8'), /PRIVATE KEY/);
    assert.match(readFileSync(join(world.home, 'lab.age'), 'utf8'), /^age-encryption|BEGIN AGE/);
  });
});
