/** The generated config, read by the real ssh, and the command that writes it, run as by a user. */
import assert from 'node:assert/strict';
import { type SpawnSyncReturns, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { resolvePaths } from '../../src/platform/paths.ts';
import { loadSettings } from '../../src/settings/settings.ts';
import { quoteInclude } from '../../src/ssh-config/quote.ts';
import { renderSshConfig } from '../../src/ssh-config/render.ts';
import { ownDirectory, refusal } from '../platform/directory.ts';
import { mintBlock } from '../ssh-config/mint-block.ts';

const program = join(import.meta.dirname, '../../dist/mint-ssh');
const twoVms = `
[vm.dev]
instance = "i-0123456789abcdef0"
host = "127.0.0.1"
[vm.build]
instance = "i-0123456789abcdef1"
host = "127.0.0.1"
user = "ci"
port = 22
`;

/** The user's environment, in which nothing names an AWS account or region. */
const withoutAws = {
  ...Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('AWS_'))),
  AWS_CONFIG_FILE: '/dev/null',
  AWS_SHARED_CREDENTIALS_FILE: '/dev/null',
  AWS_EC2_METADATA_DISABLED: 'true',
};

interface Place {
  readonly mint: string;
  readonly config: string;
}

/** A directory for Mint and an ssh config of the test's own; nothing in it but `ssh.toml`. */
function place(context: TestContext, settings = twoVms, name = 'mint'): Place {
  const directory = ownDirectory(context);
  const mint = join(directory, name);
  mkdirSync(mint, { recursive: true, mode: 0o700 });
  writeFileSync(join(mint, 'ssh.toml'), settings, { mode: 0o600 });
  return { mint, config: join(directory, 'ssh', 'config') };
}

function placeWithConfig(context: TestContext, text: string | Buffer, settings = twoVms): Place {
  const made = place(context, settings);
  mkdirSync(join(made.config, '..'), { mode: 0o700 });
  writeFileSync(made.config, text, { mode: 0o600 });
  return made;
}

/** Runs the program in a session of its own, so that it has no terminal to ask on. */
function mint({ mint: directory, config }: Place, ...words: string[]): SpawnSyncReturns<string> {
  const args = ['-w', program, 'ssh-config', '--config-dir', directory, '--file', config, ...words];
  return spawnSync('setsid', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], env: withoutAws });
}

function mintWell(at: Place, ...words: string[]): SpawnSyncReturns<string> {
  const outcome = mint(at, ...words);
  assert.equal(outcome.status, 0, outcome.stderr);
  return outcome;
}

/** What `ssh -G` says, the first value of each keyword. */
function effective(config: string, host: string): Map<string, string> {
  const { stdout, stderr, status } = spawnSync('ssh', ['-F', config, '-G', host], { encoding: 'utf8' });
  assert.equal(status, 0, stderr);
  const values = new Map<string, string>();
  for (const line of stdout.split('\n')) {
    const [keyword = '', ...rest] = line.split(' ');
    if (!values.has(keyword)) values.set(keyword, rest.join(' '));
  }
  return values;
}

/** Our values for `dev`, as this machine's ssh has to see them. */
function assertOurs({ mint: directory, config }: Place, host = 'dev'): void {
  const values = effective(config, host);
  const expected = {
    hostname: 'dev',
    hostkeyalias: 'dev',
    user: 'ubuntu',
    port: '22',
    proxycommand: `"${program}" proxy --config-dir "${directory.replaceAll('%', '%%')}" dev %p %r`,
    proxyusefdpass: 'no',
    identityagent: `${directory}/run/agent/dev.sock`,
    identityfile: 'none',
    identitiesonly: 'no',
    addkeystoagent: 'false',
    pubkeyauthentication: 'true',
    preferredauthentications: 'publickey',
    userknownhostsfile: `${directory}/hosts/dev.known_hosts`,
    // No form of a path with % means the same to OpenSSH and to libssh.
    globalknownhostsfile: directory.includes('%') ? '/dev/null' : `${directory}/hosts/dev.libssh_known_hosts`,
    stricthostkeychecking: 'true',
    updatehostkeys: 'true',
    hashknownhosts: 'no',
    checkhostip: 'no',
    verifyhostkeydns: 'false',
    canonicalizehostname: 'false',
  };
  for (const [keyword, value] of Object.entries(expected)) {
    // The IdentityAgent of the user's own config goes along: it is what `-A` forwards.
    const found = values.get(keyword)?.replace(/ --upstream-agent \S+(?= )/, '');
    assert.equal(found, value, keyword);
  }
  assert.match(String(values.get('hostkeyalgorithms')), /^ssh-ed25519,/);
  assert.match(String(values.get('pubkeyacceptedalgorithms')), /(?:^|,)ssh-ed25519(?:,|$)/);
  for (const keyword of ['knownhostscommand', 'pkcs11provider']) {
    assert.ok([undefined, 'none'].includes(values.get(keyword)), keyword);
  }
  assert.ok([undefined, 'no'].includes(values.get('gssapikeyexchange')));
  assert.ok(!values.has('proxyjump'));
}

/** The files below a directory. The run directory, which holds scratch files while a command runs, may be there, empty. */
function filesIn(directory: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map(({ name }) => name);
}

function tidy(at: Place): string[] {
  return readdirSync(join(at.config, '..')).sort();
}

const userFiles: Readonly<Record<string, string>> = {
  empty: '',
  'Host * first': 'Host *\n  User me\n',
  CRLF: 'Host *\r\n  User me\r\n',
  'no final newline': 'Host *\n  User me',
  '5,000 lines': Array.from(
    { length: 1250 },
    (_, at) => `Host h${at}\n  User u${at}\n  Port ${at + 1}\n\n`,
  ).join(''),
  'comments and bytes that are not text': '# \u00ff\u0080\n\n',
  'blocks of Mint’s, one of a VM that is not ours': `Host *\n  User me\n\n${mintBlock('dev-2')}\n${mintBlock('dev')}\n${mintBlock('build')}`,
  'IgnoreUnknown with options unknown here':
    'IgnoreUnknown UseKeychain,Later*\nHost *\n  UseKeychain yes\n  LaterOption 1\n',
};

for (const [name, text] of Object.entries(userFiles)) {
  test(`${name}: our values win, a second run changes nothing, and --remove restores every byte`, (context) => {
    const before = Buffer.from(text, 'latin1');
    const at = placeWithConfig(context, before);
    mintWell(at, '--yes');
    assertOurs(at);
    assertOurs(at, 'mint-dev');
    assert.equal(effective(at.config, 'build').get('user'), 'ci');
    const written = [
      readFileSync(at.config),
      statSync(at.config).ino,
      statSync(join(at.mint, 'ssh_config')).ino,
    ];
    const again = mintWell(at);
    assert.match(again.stderr, /nothing to do/);
    assert.equal(again.stdout, '');
    assert.deepEqual(
      [readFileSync(at.config), statSync(at.config).ino, statSync(join(at.mint, 'ssh_config')).ino],
      written,
    );
    mintWell(at, '--remove', '--yes');
    assert.deepEqual(readFileSync(at.config), before);
    assert.deepEqual(tidy(at), ['config']);
    assert.ok(!existsSync(join(at.mint, 'ssh_config')));
    assert.match(mintWell(at, '--remove').stderr, /nothing to do/);
  });
}

test('does not change Mint’s blocks, and puts ours before them', (context) => {
  const before = `# mine\n${mintBlock('dev-2')}\n${mintBlock('dev')}\nHost *\n  User me\n`;
  const at = placeWithConfig(context, before);
  mintWell(at, '--yes');
  assertOurs(at, 'mint-dev');
  assert.equal(effective(at.config, 'mint-dev-2').get('hostname'), '203.0.113.7');
  assert.ok(readFileSync(at.config, 'utf8').endsWith(before));
  mintWell(at, '--remove', '--yes');
  assert.equal(readFileSync(at.config, 'utf8'), before);
});

test('a keyword that not every OpenSSH knows is written only if a config of the user uses it', (context) => {
  const plain = placeWithConfig(context, 'Host *\n  User me\n');
  mintWell(plain, '--yes');
  const rare = /GSSAPIKeyExchange|KnownHostsCommand|PKCS11Provider|IgnoreUnknown/i;
  assert.doesNotMatch(readFileSync(join(plain.mint, 'ssh_config'), 'utf8'), rare);
  const used = placeWithConfig(context, 'Host dev\n  KnownHostsCommand /bin/true\n');
  mintWell(used, '--yes');
  const text = readFileSync(join(used.mint, 'ssh_config'), 'utf8');
  assert.match(text, /^ {4}KnownHostsCommand none$/m);
  assert.doesNotMatch(text, /GSSAPIKeyExchange|PKCS11Provider/);
  assertOurs(used);
});

test('the known-hosts file of each block exists as soon as the block is written', (context) => {
  const at = placeWithConfig(context, '');
  mintWell(at, '--yes');
  for (const name of ['dev', 'build']) {
    const file = effective(at.config, name).get('userknownhostsfile') ?? '';
    assert.equal(readFileSync(file, 'utf8'), '');
    assert.equal(statSync(file).mode & 0o777, 0o600);
  }
});

test('does not change a read-only config that includes our file, and writes our file', (context) => {
  const at = placeWithConfig(context, 'Host *\n  User me\n');
  const include = `Include ${join(at.mint, 'ssh_config')}\n`;
  const replace = (text: string) => {
    chmodSync(at.config, 0o600);
    writeFileSync(at.config, text);
    chmodSync(at.config, 0o444);
  };
  for (const text of [
    include,
    `# generated\nInclude "${join(at.mint, 'ssh_config')}"\nHost *\n  User me\n`,
  ]) {
    replace(text);
    writeFileSync(join(at.mint, 'ssh_config'), '', { mode: 0o600 });
    mintWell(at, '--yes');
    assert.equal(readFileSync(at.config, 'utf8'), text);
    assertOurs(at);
    assert.match(mintWell(at, '--yes').stderr, /nothing to do/);
  }
  for (const text of ['Host *\n  User me\n', `Host other\n${include}`]) {
    replace(text);
    const { status, stderr } = mint(at, '--yes');
    assert.equal(status, 1);
    assert.match(
      stderr,
      /is read-only \(io-failed\)\n.*hint: make it writable \(chmod u\+w\), or add this line at its top: Include "/,
    );
    assert.equal(readFileSync(at.config, 'utf8'), text);
  }
});

test('prints the command that works, also if the file is not ~/.ssh/config', (context) => {
  const at = place(context);
  assert.ok(mintWell(at, '--yes').stderr.includes(`ready: ssh -F ${at.config} dev, and 1 more\n`));
});

const hostileOptions = [
  'PubkeyAuthentication no',
  'ProxyUseFdpass yes',
  'PubkeyAcceptedAlgorithms rsa-sha2-512',
  'PubkeyAcceptedKeyTypes -ssh-ed25519*',
  'HostKeyAlgorithms rsa-sha2-512',
  'IdentitiesOnly yes',
  'IdentityAgent none',
  'IdentityAgent SSH_AUTH_SOCK',
  'AddKeysToAgent yes',
  'PKCS11Provider /opt/none.so',
  'PreferredAuthentications password,keyboard-interactive',
  'StrictHostKeyChecking no',
  'StrictHostKeyChecking accept-new',
  'UserKnownHostsFile /dev/null',
  'GlobalKnownHostsFile /etc/hosts',
  'UpdateHostKeys no',
  'HashKnownHosts yes',
  'CheckHostIP yes',
  'VerifyHostKeyDNS yes',
  'KnownHostsCommand /bin/true',
  'HostKeyAlias other',
  'HostName %h.corp.example',
  'User me\n  Port 2222',
  'ProxyCommand nc %h %p',
  'ProxyJump bastion',
  'CanonicalizeHostname always\n  CanonicalDomains example.com',
];

test('no hostile line below Host * reaches a VM, alone or all together', (context) => {
  for (const option of [...hostileOptions, hostileOptions.join('\n  ')]) {
    const before = `Host *\n  ${option}\n`;
    const at = placeWithConfig(context, before);
    mintWell(at, '--yes');
    assertOurs(at);
    mintWell(at, '--remove', '--yes');
    assert.equal(readFileSync(at.config, 'utf8'), before);
  }
});

test('no hostile line reaches a VM without a Host line above it, or under Match', (context) => {
  for (const head of ['', 'Match all\n', 'Match exec "true"\n', 'Match final\n']) {
    const at = placeWithConfig(context, `${head}${hostileOptions.join('\n')}\n`);
    mintWell(at, '--yes');
    assertOurs(at);
  }
});

test('the agent is forwarded only if the user’s own config says yes, and then the user’s own', (context) => {
  const block = (at: Place) => readFileSync(join(at.mint, 'ssh_config'), 'utf8');
  const silent = placeWithConfig(context, 'Host *\n  User me\n');
  mintWell(silent, '--yes');
  assert.doesNotMatch(block(silent), /ForwardAgent yes/);
  const one = placeWithConfig(context, 'Host build\n  ForwardAgent yes\n');
  mintWell(one, '--yes');
  const [dev = '', build = '', shared = ''] = block(one)
    .split(/^Host /m)
    .slice(1);
  assert.match(dev, /ForwardAgent no\n {4}ForwardAgent ".*\/run\/forward\/dev\.sock"/);
  assert.match(build, /ForwardAgent yes\n {4}ForwardAgent ".*\/run\/forward\/build\.sock"/);
  assert.doesNotMatch(shared, /ForwardAgent/);
  // The second run sees our blocks as well, and must not take their word for the user's.
  assert.match(mintWell(one).stderr, /nothing to do/);
  assert.equal(effective(one.config, 'dev').get('forwardagent'), join(one.mint, 'run/forward/dev.sock'));
});

test('creates what is missing: the file, its directory, the placeholder for -A', (context) => {
  const at = place(context);
  mintWell(at, '--yes');
  assertOurs(at);
  assert.equal(statSync(at.config).mode & 0o777, 0o600);
  assert.equal(statSync(join(at.config, '..')).mode & 0o777, 0o700);
  assert.equal(statSync(join(at.mint, 'ssh_config')).mode & 0o777, 0o600);
  assert.equal(statSync(join(at.mint, 'run/forward.sock')).size, 0);
  mintWell(at, '--remove', '--yes');
  assert.ok(!existsSync(at.config));
});

test('a symbolic link stays one, and its target is restored', (context) => {
  const at = placeWithConfig(context, '');
  const dotfiles = join(at.config, '..', 'dotfiles');
  mkdirSync(dotfiles, { mode: 0o700 });
  writeFileSync(join(dotfiles, 'ssh'), 'Host *\n  User me\n', { mode: 0o600 });
  const link = { ...at, config: join(at.config, '..', 'link') };
  symlinkSync('dotfiles/ssh', link.config);
  mintWell(link, '--yes');
  assertOurs(link);
  assert.equal(readlinkSync(link.config), 'dotfiles/ssh');
  mintWell(link, '--remove', '--yes');
  assert.equal(readFileSync(join(dotfiles, 'ssh'), 'utf8'), 'Host *\n  User me\n');
});

test('a read-only file is refused before anything is written', (context) => {
  const at = placeWithConfig(context, 'Host *\n');
  chmodSync(at.config, 0o400);
  const outcome = mint(at, '--yes');
  assert.equal(outcome.status, 1);
  assert.match(outcome.stderr, /is read-only \(io-failed\)\n.*hint: .*chmod u\+w/);
  assert.ok(!existsSync(join(at.mint, 'ssh_config')));
});

test('accepts a manual Include at the top; below a Host line it is reported, and ours goes above it', (context) => {
  const at = placeWithConfig(context, '');
  const byHand = `Include ${quoteInclude(join(at.mint, 'ssh_config'))}\n`;
  writeFileSync(at.config, `# mine\n${byHand}Host *\n  PubkeyAuthentication no\n`);
  mintWell(at, '--yes');
  assertOurs(at);

  writeFileSync(at.config, `Host work\n  User me\n${byHand}`);
  const outcome = mintWell(at, '--yes');
  assert.match(outcome.stderr, /line 3 of .* only for the Host or Match of line 1; it stays/);
  assertOurs(at);
  mintWell(at, '--remove', '--yes');
  assert.equal(readFileSync(at.config, 'utf8'), `Host work\n  User me\n${byHand}`);
});

test('moves lines that the user later puts above the Include below it', (context) => {
  const at = placeWithConfig(context, 'Host *\n  User me\n');
  mintWell(at, '--yes');
  writeFileSync(at.config, `StrictHostKeyChecking no\n${readFileSync(at.config)}`);
  mintWell(at, '--yes');
  assertOurs(at);
  mintWell(at, '--remove', '--yes');
  assert.equal(readFileSync(at.config, 'utf8'), 'StrictHostKeyChecking no\nHost *\n  User me\n');
});

test('reports a config that ssh refuses with its line, and writes nothing', (context) => {
  const at = placeWithConfig(context, 'Host *\n  UseKeychain yes\n');
  const outcome = mint(at, '--yes');
  assert.equal(outcome.status, 1);
  assert.match(outcome.stderr, /ssh refuses its config: .*ssh\/config: line 2: Bad configuration option/);
  assert.ok(!existsSync(join(at.mint, 'ssh_config')));
});

test('without a terminal and without --yes it shows the diff, changes nothing and exits 2', (context) => {
  const at = placeWithConfig(context, 'Host *\n');
  const outcome = mint(at);
  assert.equal(outcome.status, 2);
  assert.match(outcome.stdout, /^\+Include "/m);
  assert.match(outcome.stdout, /^\+ {4}ProxyCommand /m);
  assert.match(outcome.stderr, /no terminal.* \(usage\)\n.*--yes/);
  assert.equal(readFileSync(at.config, 'utf8'), 'Host *\n');
  assert.deepEqual(filesIn(at.mint), ['ssh.toml']);
});

test('--dry-run shows the diff, changes nothing and exits 0', (context) => {
  const at = placeWithConfig(context, 'Host *\n');
  assert.match(mintWell(at, '--dry-run').stdout, /^\+Include "/m);
  assert.equal(readFileSync(at.config, 'utf8'), 'Host *\n');
  assert.deepEqual(filesIn(at.mint), ['ssh.toml']);
});

for (const [answer, status] of [
  ['yes', 0],
  ['y', 0],
  ['no', 1],
  ['', 1],
  ['yess', 1],
] as const) {
  test(`on a terminal it asks, and ${JSON.stringify(answer)} is ${status === 0 ? 'a yes' : 'a no'}`, async (context) => {
    const at = placeWithConfig(context, 'Host *\n');
    const words = [program, 'ssh-config', '--config-dir', at.mint, '--file', at.config];
    const command = words.map((word) => `'${word}'`).join(' ');
    const child = spawn('script', ['-qefc', command, '/dev/null'], { stdio: ['pipe', 'pipe', 'inherit'] });
    let shown = '';
    child.stdout.on('data', (piece) => {
      const asked = shown.includes('(yes/no)');
      shown += String(piece);
      if (!asked && shown.includes('(yes/no)')) child.stdin.write(`${answer}\n`);
    });
    const [ended] = await once(child, 'exit');
    assert.equal(ended, status, shown);
    assert.equal(readFileSync(at.config, 'utf8') === 'Host *\n', status !== 0);
  });
}

test('without VMs and without AWS it reports what is missing, and writes nothing', (context) => {
  for (const settings of ['', 'user = "me"\n']) {
    const at = place(context, settings);
    const outcome = mint(at, '--yes');
    assert.equal(outcome.status, 2);
    assert.match(outcome.stderr, /no AWS region is set \(bad-settings\)\n.*hint: set region/);
    assert.deepEqual(filesIn(at.mint), ['ssh.toml']);
    assert.ok(!existsSync(at.config));
  }
});

test('reports a name that refers to another host, and writes it', (context) => {
  const vm = (name: string, id: number) =>
    `[vm."${name}"]\ninstance = "i-0123456${id}"\nhost = "127.0.0.1"\n`;
  const settings = ['dev', 'work', 'known', 'hashed', 'db.example', 'localhost'].map(vm).join('');
  const at = placeWithConfig(context, '', settings);
  const known = join(at.config, '..', 'known');
  const key = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKZ1sT9Qj0sJm4v6xw2nH4l0cT7uX8yZ9aBcDeFgHiJk';
  writeFileSync(known, `hashed ${key}\n`);
  assert.equal(spawnSync('ssh-keygen', ['-H', '-f', known]).status, 0);
  writeFileSync(known, `${readFileSync(known)}[known]:41122,192.0.2.1 ${key}\n`);
  writeFileSync(at.config, `Host work w*\n  HostName work.example\nHost *\n  UserKnownHostsFile ${known}\n`);
  const { stderr } = mintWell(at, '--yes');
  assert.match(stderr, /`ssh work` will be the VM, although your ssh config has a Host or Match line for it/);
  assert.match(stderr, /`ssh known` will be the VM, although your known_hosts has/);
  assert.match(stderr, /`ssh hashed` will be the VM, although your known_hosts has/);
  assert.match(stderr, /`ssh db\.example` will be the VM, although it looks like a host name/);
  assert.match(stderr, /`ssh localhost` will be the VM, although it is this machine/);
  assert.doesNotMatch(stderr, /`ssh dev`/);
  assertOurs(at);
});

test('leaves out an alias that is the name of a VM', (context) => {
  const at = place(context, `${twoVms}[vm.mint-dev]\ninstance = "i-01234567"\nhost = "127.0.0.1"\n`);
  mintWell(at, '--yes');
  assertOurs(at);
  assert.equal(effective(at.config, 'mint-dev').get('hostname'), 'mint-dev');
  assert.equal(effective(at.config, 'mint-build').get('hostname'), 'build');
});

test('ten simultaneous runs leave one Include and complete files', async (context) => {
  const at = placeWithConfig(context, 'Host *\n  User me\n');
  const words = ['ssh-config', '--config-dir', at.mint, '--file', at.config, '--yes'];
  const children = Array.from({ length: 10 }, () => spawn(program, words, { stdio: 'ignore' }));
  const codes = await Promise.all(children.map(async (child) => (await once(child, 'exit'))[0] as number));
  // Runs that were overtaken report it; at least one succeeded.
  assert.ok(codes.includes(0) && codes.every((code) => code === 0 || code === 1), String(codes));
  assertOurs(at);
  assert.equal(readFileSync(at.config, 'utf8').split('\nInclude ').length, 2);
  assert.deepEqual(tidy(at), ['config']);
  mintWell(at, '--remove', '--yes');
  assert.equal(readFileSync(at.config, 'utf8'), 'Host *\n  User me\n');
});

const possibleNames = [
  'with space',
  "it's",
  "'; touch x; '",
  '100%',
  '%h %r%%p',
  '[x]',
  '[!a]*?{b}',
  '(&;|<>#~!',
  'dév 日本',
  '- -oX',
  ' lead and trail ',
];

for (const name of possibleNames) {
  test(`a directory called ${JSON.stringify(name)} works, for ssh and for the shell it starts`, (context) => {
    const at = place(context, twoVms, name);
    mintWell(at, '--yes');
    assertOurs(at);
    assert.match(mintWell(at).stderr, /nothing to do/);
    // Another directory that an unescaped pattern would match must not matter.
    assert.equal(readdirSync(join(at.mint, '..')).filter((found) => found === name).length, 1);
    for (const shell of ['/bin/sh', '/bin/bash']) {
      if (existsSync(shell)) assertProxyIsStarted(at, shell);
    }
    mintWell(at, '--remove', '--yes');
    assert.ok(!existsSync(at.config));
  });
}

/** Lets real ssh start a stand-in for the program, in the same directory, that notes what it was given. */
function assertProxyIsStarted(at: Place, shell: string): void {
  const paths = resolvePaths({ configDir: at.mint });
  const vm = loadSettings(paths, {}).vm('dev');
  assert.ok(vm);
  const standIn = join(at.mint, 'pro gram');
  const noted = join(at.mint, 'noted');
  writeFileSync(standIn, `#!/bin/sh\nprintf '%s\\n' "$@" > "\${0%/*}/noted"\n`, { mode: 0o700 });
  const text = renderSshConfig([{ vm, forwardAgent: false }], {
    paths,
    program: standIn,
    used: new Set(),
  });
  const file = join(at.mint, 'config');
  writeFileSync(file, text, { mode: 0o600 });
  const { status } = spawnSync('ssh', ['-F', file, 'dev', 'true'], { env: { ...process.env, SHELL: shell } });
  assert.equal(status, 255);
  assert.equal(readFileSync(noted, 'utf8'), `proxy\n--config-dir\n${at.mint}\ndev\n22\nubuntu\n`);
}

for (const name of [
  '$HOME',
  '$(touch x)',
  '`id`',
  'back\\slash',
  'quo"te',
  'new\nline',
  'tab\tbed',
  'e\u001bsc',
]) {
  test(`a directory called ${JSON.stringify(name)} is refused by name, and nothing is written`, (context) => {
    const at = place(context, twoVms, name);
    const outcome = mint(at, '--yes');
    assert.equal(outcome.status, 3, outcome.stderr);
    assert.match(
      outcome.stderr,
      /cannot be written in an ssh config: it has a .* \(ssh-config-unsafe\)\n.*hint: /,
    );
    assert.deepEqual(readdirSync(at.mint), ['ssh.toml']);
    assert.ok(!existsSync(at.config));
  });
}

test('the Include brings in our directory and no other that a pattern would match', (context) => {
  const at = place(context, twoVms, 'a[bc]%d');
  for (const decoy of ['ab%d', 'ac%d']) {
    mkdirSync(join(at.mint, '..', decoy));
    writeFileSync(join(at.mint, '..', decoy, 'ssh_config'), 'Host dev\n  User decoy\n');
  }
  mintWell(at, '--yes');
  assertOurs(at);
});

test('a directory 90 characters deep is refused with the way out, which then works', (context) => {
  const at = place(context, twoVms, 'd'.repeat(90));
  const outcome = mint(at, '--yes');
  assert.equal(outcome.status, 1);
  assert.match(outcome.stderr, /too long for a socket.* \(agent-unavailable\)\n.*run_dir/);
  const run = join(at.config, '../../run');
  writeFileSync(join(at.mint, 'ssh.toml'), `run_dir = "${run}"\n${twoVms}`);
  mintWell(at, '--yes');
  assert.equal(effective(at.config, 'dev').get('identityagent'), join(run, 'agent/dev.sock'));
  assert.equal(effective(at.config, 'dev').get('userknownhostsfile'), join(at.mint, 'hosts/dev.known_hosts'));
});

test('a directory that others can write to is refused before anything is written', (context) => {
  const at = place(context);
  chmodSync(at.mint, 0o777);
  const outcome = mint(at, '--yes');
  assert.equal(outcome.status, 3);
  assert.match(outcome.stderr, /\(unsafe-permissions\)\n.*hint: chmod go-w/);
  assert.ok(!existsSync(at.config));
});

test('an extra word, and an unknown option, are usage errors', (context) => {
  const at = place(context);
  assert.equal(mint(at, 'dev').status, 2);
  assert.equal(mint(at, '--force').status, 2);
});

test('refuses a path that cannot be quoted, for every keyword', (context) => {
  const at = place(context);
  const paths = resolvePaths({ configDir: at.mint });
  const vm = loadSettings(paths, {}).vm('dev');
  assert.ok(vm);
  const render = (program: string) => () =>
    renderSshConfig([{ vm, forwardAgent: false }], { paths, program, used: new Set() });
  assert.throws(render('/opt/$x/mint-ssh'), refusal('ssh-config-unsafe', /it has a \$/));
  assert.throws(render('relative/mint-ssh'), refusal('ssh-config-unsafe', /not absolute/));
});

test('very many VMs all have the shared values, and no Host line is long', (context) => {
  const at = place(context);
  const paths = resolvePaths({ configDir: at.mint });
  const vm = loadSettings(paths, {}).vm('dev');
  assert.ok(vm);
  const names = Array.from({ length: 120 }, (_, index) => `vm-${index}`);
  const blocks = names.map((name) => ({ vm: { ...vm, name }, forwardAgent: false }));
  const text = renderSshConfig(blocks, { paths, program: '/x', used: new Set() });
  for (const line of text.match(/^Host .*$/gm) ?? []) assert.ok(line.split(' ').length <= 101, line);
  const file = join(at.mint, 'many');
  writeFileSync(file, text);
  for (const name of ['vm-0', 'vm-49', 'vm-50', 'mint-vm-51', 'vm-119']) {
    const { stdout, stderr } = spawnSync('ssh', ['-F', file, '-G', name], { encoding: 'utf8', input: '' });
    assert.match(stdout, /^stricthostkeychecking true$/m, stderr);
    assert.match(stdout, /^identityfile none$/m);
    assert.match(
      stdout,
      new RegExp(`^globalknownhostsfile \\S*/hosts/${name.replace('mint-', '')}\\.libssh_known_hosts$`, 'm'),
    );
  }
});
