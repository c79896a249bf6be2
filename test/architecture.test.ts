import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { test } from 'node:test';
import { version } from '../src/version.ts';

const root = join(import.meta.dirname, '..');

/** From the entry point down: a folder imports only from folders further down this list. */
const layers = [
  ['main.ts'],
  ['commands'],
  ['demo'],
  ['ci'],
  ['proxy', 'doctor'],
  ['agent'],
  ['keys'],
  ['vms'],
  ['trust', 'aws'],
  ['ssh-config'],
  ['settings'],
  ['platform'],
  ['ssh'],
  ['cli'],
  ['platform/system'],
  ['version.ts'],
  ['errors.ts'],
];

/** Import circles that are still there. Remove an entry once its circle is gone; never add one. */
const knownCircles: string[][] = [];

interface Import {
  readonly from: string;
  readonly to: string;
  readonly typeOnly: boolean;
}

/** The folder of a file in `layers`. */
function part(path: string): string {
  return path.startsWith('platform/system/') ? 'platform/system' : (path.split('/')[0] ?? '');
}

/** Imports and re-exports of our own files, `import type` and `import()` included. */
function importsOf(file: string): Import[] {
  const text = readFileSync(join(root, 'src', file), 'utf8');
  const statements = text.matchAll(
    /^(?:import|export) (type )?[^;]*?from '(\.[^']+)'|^import '(\.[^']+)'|import\('(\.[^']+)'/gms,
  );
  return [...statements].map(([, type, named, bare, dynamic]) => ({
    from: file,
    to: relative('.', join(dirname(file), named ?? bare ?? dynamic ?? '')),
    typeOnly: type !== undefined,
  }));
}

/** The strongly connected components with more than one file (Tarjan 1972), each sorted by name. */
function circlesIn(arrows: readonly Import[]): string[][] {
  const next = Map.groupBy(arrows, ({ from }) => from);
  const order = new Map<string, number>();
  const open: string[] = [];
  const circles: string[][] = [];
  const visit = (file: string): number => {
    const index = order.size;
    order.set(file, index);
    let low = index;
    open.push(file);
    for (const { to } of next.get(file) ?? []) {
      if (!order.has(to)) low = Math.min(low, visit(to));
      else if (open.includes(to)) low = Math.min(low, order.get(to) ?? 0);
    }
    if (low === index) {
      const component = open.splice(open.indexOf(file));
      if (component.length > 1) circles.push(component.sort());
    }
    return low;
  };
  for (const file of next.keys()) if (!order.has(file)) visit(file);
  return circles.sort();
}

const files = globSync('**/*.ts', { cwd: join(root, 'src') });
const imports = files.flatMap(importsOf);

test('every folder imports only from folders below it', () => {
  assert.ok(imports.length > 100, 'the imports were found');
  const height = (path: string) => layers.findIndex((layer) => layer.includes(part(path)));
  const wrong = imports.filter(({ from, to }) => {
    assert.notEqual(height(from), -1, `${from} is in no layer`);
    assert.notEqual(height(to), -1, `${to} is in no layer`);
    return part(from) !== part(to) && height(from) >= height(to);
  });
  assert.deepEqual(wrong, []);
});

test('no file imports itself through others, by value or by type', () => {
  assert.deepEqual(circlesIn(imports), knownCircles);
});

test('finds a circle through every kind of import', () => {
  const arrow = (from: string, to: string, typeOnly = false) => ({ from, to, typeOnly });
  assert.deepEqual(
    circlesIn([arrow('a', 'b'), arrow('b', 'c', true), arrow('c', 'a', true), arrow('c', 'd')]),
    [['a', 'b', 'c']],
  );
  assert.deepEqual(circlesIn([arrow('a', 'b'), arrow('a', 'c'), arrow('b', 'c')]), []);
});

test('the proxy can reach neither the AWS SDK, nor a TOML parser, nor ssh2, and ws at its use alone', () => {
  const reached = new Set<string>();
  const queue = ['commands/proxy.ts'];
  for (let file = queue.pop(); file !== undefined; file = queue.pop()) {
    if (reached.has(file)) continue;
    reached.add(file);
    queue.push(...imports.filter(({ from, typeOnly }) => from === file && !typeOnly).map(({ to }) => to));
  }
  assert.ok(reached.has('proxy/pipe.ts'));
  assert.ok(reached.has('proxy/routes/endpoint-tunnel.ts'));
  const packages = [...reached].flatMap((file) => {
    const text = readFileSync(join(root, 'src', file), 'utf8');
    return [...text.matchAll(/^import (?!type )[^;]*?from '([^.'][^']*)'/gms)].map(([, name = '']) => name);
  });
  assert.deepEqual(
    packages.filter((name) => !name.startsWith('node:') || name === 'node:sqlite'),
    [],
  );
  assert.deepEqual(
    [...reached].filter((file) => file.startsWith('aws/') || file === 'settings/settings.ts'),
    [],
  );
});

test('the wire layer needs no more of Node than its cryptography', () => {
  for (const file of files.filter((name) => name.startsWith('ssh/'))) {
    const text = readFileSync(join(root, 'src', file), 'utf8');
    const modules = [...text.matchAll(/from '(node:[^']+)'/g)].map(([, name]) => name);
    assert.deepEqual(
      modules.filter((name) => name !== 'node:crypto'),
      [],
      file,
    );
  }
});

test('only src/platform/system asks on which system it runs, and each of its files is one system', () => {
  const asking = files.filter((file) => {
    const text = readFileSync(join(root, 'src', file), 'utf8');
    return /process\.platform|\bplatform\(\)|\{[^}]*\bplatform\b[^}]*\} from 'node:(?:os|process)'/.test(
      text,
    );
  });
  assert.deepEqual(asking.sort(), ['platform/system/system.ts', 'platform/system/unix.ts']);
});

test('each exported function has a comment', () => {
  const uncommented = files.flatMap((file) => {
    const lines = readFileSync(join(root, 'src', file), 'utf8').split('\n');
    return lines.flatMap((line, at) => {
      const name = /^export (?:async )?function\*? (\w+)/.exec(line)?.[1];
      const before = lines[at - 1]?.trimEnd() ?? '';
      // The comment of an overloaded function is above its first form.
      const hasComment = before.endsWith('*/') || before.startsWith(`export function ${name}(`);
      return name === undefined || hasComment ? [] : [`${file}: ${name}`];
    });
  });
  assert.deepEqual(uncommented, []);
});

test('each @throws MintError names a code, or the function that does', () => {
  const without = files.flatMap((file) =>
    [...readFileSync(join(root, 'src', file), 'utf8').matchAll(/@throws MintError.*$/gm)]
      .filter(([line]) => !line.includes('`'))
      .map(([line]) => `${file}: ${line}`),
  );
  assert.deepEqual(without, []);
});

/** A file under this many lines needs a reason, as does one over `maxLines`: a file is one concept. */
const minLines = 40;
const maxLines = 400;

/** Why a file is so short, by its path or by its folder. */
const shortFiles: Readonly<Record<string, string>> = {
  'version.ts': 'the version, for every folder',
  'commands/': 'one file for each word that the user types',
  'commands/keys/': 'one file for each word of `keys`',
  'agent/credentials/key-memory.ts': 'how a private key leaves the memory; three kinds of keys use it',
  'aws/credentials-sdk.ts': 'a part of the SDK that the executable loads by itself',
  'aws/dynamodb-sdk.ts': 'a part of the SDK that the executable loads by itself',
  'aws/ec2-sdk.ts': 'a part of the SDK that the executable loads by itself',
  'aws/push-sdk.ts': 'a part of the SDK that the executable loads by itself',
  'agent/control/share-credentials.ts': 'a message of its own; no login loads it',
  'aws/resolved.ts': 'main.ts loads it at every start, without the AWS client',
  'aws/profile-names.ts': 'completion loads it in place of the SDK',
  'aws/network.ts': 'the connections of the credential providers and of the clients',
  'cli/colour.ts': 'when and how to paint text',
  'cli/open-terminal.ts': 'tty.ts and windows-console.ts would import each other',
  'cli/qr-code.ts': 'its library is loaded with it, for one command on a terminal',
  'cli/question.ts': 'loaded only when there is a question',
  'cli/shell-command.ts': 'the only place that quotes for a shell of the user',
  'cli/time.ts': 'the two forms in which times are shown',
  'cli/wrap.ts': 'line breaks of help and doctor',
  'keys/aws-fingerprint.ts': "EC2's own forms of a fingerprint",
  'keys/certificate.ts': 'PROTOCOL.certkeys',
  'keys/key-list.ts': 'the output of `key list`',
  'keys/lifetime.ts': 'the form of --expires',
  'keys/older-keys.ts': 'the file names of two other programs',
  'keys/store/key-material.ts': 'the formats in which the store keeps a key',
  'keys/store/location.ts': 'which directory is the store',
  'keys/store/sshpk.d.ts': 'types that a package lacks',
  'platform/forward-socket.ts': 'the files that stand in for a socket of `ssh -A`',
  'platform/program.ts': 'the path of this program, and how to start it again',
  'platform/sleep.ts': 'a wait that does not yield',
  'platform/system/system.ts': 'the one choice between the systems',
  'proxy/push-gate.ts': 'step 4 of a login',
  'proxy/routes/endpoint.ts': 'decides without the WebSocket library, which endpoint-tunnel.ts loads',
  'proxy/routes/route.ts': 'the interface of a route',
  'settings/region.ts': 'the form of a region',
  'settings/usual-login.ts': 'the users and ports without any setting',
  'settings/vm-name.ts': 'the form of a name and of an instance id',
  'ssh-config/approval.ts': 'the question before a file is changed',
  'ssh-config/installed-include.ts': 'whether the user still wants the Include',
  'ssh-config/mint-blocks.ts': "Mint's own blocks",
  'ssh-config/remote-command.ts': 'the only place that quotes for a shell on a VM',
  'ssh-config/system-config.ts': 'what ssh leaves out with -F',
  'ssh/key-encoding.ts': 'public keys as blobs',
  'ssh/message-numbers.ts': 'the numbers of RFC 4250',
  'ssh/refusal.ts': 'the two ways to refuse bytes',
  'ssh/session-bind.ts': 'one message of PROTOCOL.agent',
  'vms/known-names.ts': 'the names that completion offers',
  'vms/usual-login.ts': "the login that a VM's image and tags suggest",
};

function lineCount(file: string): number {
  return readFileSync(join(root, 'src', file), 'utf8').split('\n').length - 1;
}

test('a file under 40 lines is in the table above, and the table has no file that is gone', () => {
  const unexplained = files.filter(
    (file) => lineCount(file) < minLines && !(file in shortFiles) && !(`${dirname(file)}/` in shortFiles),
  );
  assert.deepEqual(unexplained, [], 'merge it into the file that uses it, or give its reason');
  const gone = Object.keys(shortFiles).filter((name) => !name.endsWith('/') && !files.includes(name));
  assert.deepEqual(gone, []);
});

test('a file over 400 lines has its reason in docs/architecture.md', () => {
  const page = readFileSync(join(root, 'docs/architecture.md'), 'utf8');
  const reasons = page.slice(page.indexOf('| file over 400 lines |'), page.indexOf('## Glossary'));
  const unexplained = files.filter(
    (file) => lineCount(file) > maxLines && !reasons.includes(`](../src/${file})`),
  );
  assert.deepEqual(unexplained, [], 'split it by concept, or give its reason');
});

/** A file over which a value passes, with the functions that take it. */
interface Hop {
  readonly file: string;
  readonly functions: readonly string[];
}

/** The section "How three values travel through the code". */
function travels(): string {
  const page = readFileSync(join(root, 'docs/architecture.md'), 'utf8');
  return page.slice(
    page.indexOf('## How three values travel through the code'),
    page.indexOf('## Host keys'),
  );
}

/** Its ordered lists, by their headings. */
function ways(): ReadonlyMap<string, readonly Hop[]> {
  return new Map(
    travels()
      .split(/^### /m)
      .slice(1)
      .map((text): [string, Hop[]] => [
        text.split('\n', 1)[0] ?? '',
        [...text.matchAll(/^\d+\. \[`[^`]+`\]\(\.\.\/src\/([^)]+)\): (.*(?:\n {3,}.*)*)/gm)].map(
          ([, file = '', said = '']) => ({
            file,
            functions: [...said.matchAll(/`(\w+)`/g)].map(([, name = '']) => name),
          }),
        ),
      ]),
  );
}

test('the ways of three values pass few files, and each file has the functions that the page names', () => {
  const limit = 10;
  const listed = ways();
  assert.deepEqual([...listed.keys()], ['The name of a VM', 'A host key', 'AWS credentials']);
  const counted = new Map(
    [...travels().matchAll(/^\| ([^|]+) \| \d+ \| (\d+) \|/gm)].map(([, value, now]) => [value, Number(now)]),
  );
  for (const [value, hops] of listed) {
    assert.ok(hops.length > 5 && hops.length <= limit, `${value}: ${hops.length} files`);
    const row = value.replace(/^The|^A(?= )/, (word) => word.toLowerCase());
    assert.equal(counted.get(row), hops.length, `${value}: the table has another number`);
    assert.equal(new Set(hops.map(({ file }) => file)).size, hops.length, `${value}: a file twice`);
    for (const { file, functions } of hops) {
      assert.ok(functions.length > 0, `${file} takes the ${value} in no function`);
      const text = readFileSync(join(root, 'src', file), 'utf8');
      for (const name of functions) {
        assert.match(
          text,
          new RegExp(`(?:function |[.#]|^ *(?:async |override )?)${name}\\b`, 'm'),
          `${file}: ${name}`,
        );
      }
    }
  }
});

test('each file that the ways of the three values name exists', () => {
  const named = [...travels().matchAll(/`([\w/-]+\.ts)`/g)].map(([, name = '']) => name);
  assert.ok(named.length > 50);
  const gone = named.filter((name) => !files.some((file) => `/${file}`.endsWith(`/${name}`)));
  assert.deepEqual(gone, []);
});

test('only main.ts ends the process', () => {
  const ending = files.filter((file) =>
    readFileSync(join(root, 'src', file), 'utf8').includes('process.exit('),
  );
  assert.deepEqual(ending, ['main.ts']);
});

test('the version is the package’s', () => {
  const { version: packaged } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    version: string;
  };
  assert.equal(version, packaged);
});
