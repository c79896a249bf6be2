import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { ownDirectory } from '../platform/directory.ts';
import { mintBlock } from './mint-block.ts';

const run = promisify(execFile);
const program = join(import.meta.dirname, 'programs/taken.ts');

const config = `
Host *
  User me
  UserKnownHostsFile DIR/known_hosts DIR/known_hosts2
  GlobalKnownHostsFile DIR/global_known_hosts
Host bastion
  ForwardAgent yes
Host = equals
  Port 22
Host "quoted" UPPER
  Port 22
Host web-* db?
  User me
Host * !negated
  Compression no
Host mint-jump
  HostName 192.0.2.1
Match host matched,also-matched
  User you
Match originalhost=attached
  User you
Match user someone
  Port 22
Include DIR/more/*.conf
`;
const included = 'Host included\n  User me\nHost mint-nested\n  User me\n';
const knownHosts = (hash: (name: string) => string) => [
  'plain ssh-ed25519 AAAA',
  '[ported]:2222,other ssh-ed25519 AAAA',
  'mint-aliased ssh-ed25519 AAAA',
  'wild-* ssh-ed25519 AAAA',
  '@cert-authority ca-*,!ca-not ssh-ed25519 AAAA',
  '@revoked * ssh-ed25519 AAAA',
  '# comment',
  hash('hashed'),
  hash('[hashed-port]:41122'),
  hash('mint-hashed-alias'),
];

/** A name, and why it is taken; undefined for a free name. */
const table: readonly (readonly [name: string, reason: RegExp | undefined])[] = [
  ['dev', undefined],
  ['build', undefined],
  ['a', undefined],
  ['dev-2', undefined],
  ['my_box', undefined],
  ['localhost', /this machine/],
  ['www.example.com', /looks like a host name/],
  ['bastion', /Host or Match line for it/],
  ['bastion-2', undefined],
  ['equals', /Host or Match line/],
  ['quoted', /Host or Match line/],
  ['upper', /Host or Match line/],
  ['web-1', /Host or Match line/],
  ['web', undefined],
  ['db1', /Host or Match line/],
  ['db12', undefined],
  ['negated', /Host or Match line/],
  ['jump', /Host or Match line for its alias mint-jump/],
  ['mint-jump', /Host or Match line for it/],
  ['matched', /Host or Match line/],
  ['also-matched', /Host or Match line/],
  ['attached', /Host or Match line/],
  ['someone', undefined],
  ['included', /Host or Match line/],
  ['nested', /alias mint-nested/],
  ['plain', /known_hosts has an entry for it/],
  ['ported', /known_hosts/],
  ['other', /known_hosts/],
  ['aliased', /known_hosts has an entry for its alias/],
  ['wild-card', /known_hosts/],
  ['wild', undefined],
  ['ca-host', /known_hosts/],
  ['ca-not', /known_hosts/],
  ['hashed', /known_hosts/],
  ['hashed-port', /known_hosts/],
  ['hashed-alias', /alias mint-hashed-alias/],
  ['second', /known_hosts/],
  ['global', /known_hosts/],
  ['of-mint', undefined],
  ['in-hosts', /name of a host/],
  ['alias-in-hosts', /alias mint-alias-in-hosts is the name of a host/],
  ['in-dns', /name of a host/],
  ['in-search', /name of a host/],
  ['in-dns-6', /name of a host/],
];

test('forty names: only those whose name and alias refer to no other host are free', async (context) => {
  if (process.getuid?.() !== 0)
    return context.skip('not shown here: a hosts file and DNS of its own need root');
  const directory = ownDirectory(context);
  const at = (name: string) => join(directory, name);
  const hash = (name: string) => {
    writeFileSync(at('one'), `${name} ssh-ed25519 ${'A'.repeat(68)}\n`);
    execFileSync('ssh-keygen', ['-H', '-f', at('one')], { stdio: 'ignore' });
    return execFileSync('head', ['-n', '1', at('one')], { encoding: 'utf8' }).trim();
  };
  mkdirSync(at('more'));
  mkdirSync(at('run'), { mode: 0o700 });
  writeFileSync(at('more/a.conf'), included);
  writeFileSync(at('known_hosts'), knownHosts(hash).join('\n'));
  writeFileSync(at('known_hosts2'), 'second ssh-ed25519 AAAA\n');
  writeFileSync(at('global_known_hosts'), 'global ssh-ed25519 AAAA\n');
  writeFileSync(at('config'), `${config.replaceAll('DIR', directory)}\n${mintBlock('of-mint')}`, {
    mode: 0o600,
  });
  writeFileSync(
    at('hosts'),
    `127.0.0.1 localhost ${hostname()}\n192.0.2.7 in-hosts\n192.0.2.8 mint-alias-in-hosts\n`,
  );
  const server = await dnsServer({ 'in-dns': 1, 'in-search.corp.test': 1, 'in-dns-6': 28 });
  context.after(() => server.close());
  writeFileSync(at('resolv.conf'), `nameserver ${server.address}\nsearch corp.test\noptions timeout:1\n`);

  const names = table.map(([name]) => name);
  const script = `mount --bind ${at('hosts')} /etc/hosts && mount --bind ${at('resolv.conf')} /etc/resolv.conf && exec "$@"`;
  const args = ['-m', 'sh', '-c', script, 'sh', process.execPath, program, at('config'), at('run'), ...names];
  const { stdout } = await run('unshare', args, { timeout: 30_000 });
  const taken = JSON.parse(stdout) as Record<string, string>;
  for (const [name, reason] of table) {
    if (reason === undefined) assert.equal(taken[name], undefined, name);
    else assert.match(taken[name] ?? 'not taken', reason, name);
  }

  // ssh looks up a name in the domains of CanonicalDomains.
  const canonical = await dnsServer({ 'web.lab.test': 1, 'mint-box.lab.test': 28 }, '127.41.7.54');
  context.after(() => canonical.close());
  const resolvConf = readFileSync(at('resolv.conf'), 'utf8');
  writeFileSync(at('resolv.conf'), `nameserver ${canonical.address}\noptions timeout:1\n`);
  writeFileSync(at('known_hosts2'), 'seen.lab.test ssh-ed25519 AAAA\n');
  const look = async (mode: string) => {
    writeFileSync(
      at('config'),
      `CanonicalDomains corp.test lab.test\nCanonicalizeHostname ${mode}\nUserKnownHostsFile ${at('known_hosts2')}\n`,
    );
    const words = args.slice(0, -names.length).concat('web', 'box', 'seen', 'free');
    return JSON.parse((await run('unshare', words, { timeout: 30_000 })).stdout) as Record<string, string>;
  };
  for (const mode of ['yes', 'always']) {
    const found = await look(mode);
    assert.match(found['web'] ?? '', /^it is the name of a host/, mode);
    assert.match(found['box'] ?? '', /^its alias mint-box is the name of a host/, mode);
    assert.match(found['seen'] ?? '', /^your known_hosts has an entry for it/, mode);
    assert.equal(found['free'], undefined, mode);
  }
  assert.deepEqual(await look('no'), {});
  writeFileSync(at('resolv.conf'), resolvConf);
  writeFileSync(at('config'), '', { mode: 0o600 });

  // If a resolver does not answer, every name is taken. If it returns one address for all names, that does not count.
  server.close();
  const silent = JSON.parse(
    (await run('unshare', args.slice(0, -names.length).concat('dev'), { timeout: 30_000 })).stdout,
  );
  assert.match(silent.dev, /lookup of its address failed/);
  const wildcard = await dnsServer(1);
  context.after(() => wildcard.close());
  writeFileSync(at('resolv.conf'), `nameserver ${wildcard.address}\noptions timeout:1\n`);
  const any = JSON.parse(
    (await run('unshare', args.slice(0, -names.length).concat('dev'), { timeout: 30_000 })).stdout,
  );
  assert.deepEqual(any, {});
});

test('runs ssh -G for names that only ssh can resolve', async (context) => {
  const directory = ownDirectory(context);
  const file = join(directory, 'config');
  mkdirSync(join(directory, 'run'), { mode: 0o700 });
  writeFileSync(file, 'Match exec "test %n = special"\n  User you\nInclude $'.concat('{NOWHERE}/x\n'), {
    mode: 0o600,
  });
  const { stdout } = await run(
    process.execPath,
    [program, file, join(directory, 'run'), 'special', 'ordinary'],
    {
      env: { ...process.env, NOWHERE: directory },
    },
  );
  const taken = JSON.parse(stdout);
  assert.match(taken.special, /your ssh config sets user for it/);
  assert.doesNotMatch(taken.ordinary ?? '', /ssh config/);
});

/** RFC 1035, as much as getaddrinfo needs. @param records from name to the type of its address; a number for all names */
async function dnsServer(
  records: Readonly<Record<string, number>> | number,
  address = '127.41.7.53',
): Promise<{ address: string; close(): void }> {
  const socket = createSocket('udp4');
  socket.on('message', (query, from) => {
    const labels: string[] = [];
    let at = 12;
    for (let length = query[at] ?? 0; length > 0; length = query[at] ?? 0) {
      labels.push(query.toString('latin1', at + 1, at + 1 + length));
      at += 1 + length;
    }
    const type = query.readUInt16BE(at + 1);
    const question = query.subarray(12, at + 5);
    const has = typeof records === 'number' ? records : records[labels.join('.').toLowerCase()];
    const header = Buffer.from(query.subarray(0, 12));
    header.writeUInt16BE(has === undefined ? 0x8183 : 0x8180, 2);
    header.writeUInt16BE(has === type ? 1 : 0, 6);
    header.fill(0, 8);
    const data =
      type === 28 ? Buffer.from('20010db8000000000000000000000001', 'hex') : Buffer.from([192, 0, 2, 9]);
    const answer = Buffer.from([0xc0, 12, 0, type, 0, 1, 0, 0, 0, 60, 0, data.length]);
    const body = has === type ? [header, question, answer, data] : [header, question];
    socket.send(Buffer.concat(body), from.port, from.address);
  });
  await new Promise<void>((resolve) => socket.bind(53, address, resolve));
  let isOpen = true;
  return {
    address,
    close() {
      if (isOpen) socket.close();
      isOpen = false;
    },
  };
}
