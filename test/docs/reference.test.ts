/** Compares the documents' settings, dependencies, permissions and errors with the program. */
import assert from 'node:assert/strict';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { settingsKeys } from '../../src/settings/settings-keys.ts';
import { parseToml } from '../../src/settings/toml.ts';
import { codeWords, fences, pages, pageText, root, section, tableRows } from './pages.ts';

const places = { any: 'everywhere', top: 'top', vm: '`[vm.NAME]`' };

test('docs/settings.md has every key of ssh.toml with its scope, and no other', () => {
  const rows = tableRows(section('docs/settings.md', '## Keys'));
  const documented = Object.fromEntries(rows.map(([key = '', place]) => [key.replaceAll('`', ''), place]));
  const real = Object.entries(settingsKeys).map(([key, { scope }]) => [key, places[scope]]);
  assert.deepEqual(documented, Object.fromEntries(real));
});

test('the program accepts the ssh.toml examples of the documents', () => {
  const examples = pages.flatMap(fences).filter(({ language }) => language === 'toml');
  assert.ok(examples.length >= 2);
  for (const { page, line, text } of examples) {
    for (const { path, value } of parseToml(text, page).entries) {
      const rule = settingsKeys[path.at(-1) ?? ''];
      assert.ok(value !== undefined && rule !== undefined, `${page}:${line}: ${path.join('.')}`);
      assert.ok(rule.accepts(value), `${page}:${line}: ${path.join('.')}`);
      assert.notEqual(rule.scope, path[0] === 'vm' ? 'top' : 'vm', `${page}:${line}: ${path.join('.')}`);
    }
  }
});

interface Locked {
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
  readonly license?: string;
}

test('docs/dependencies.md names every runtime dependency, its licence and its own dependencies', () => {
  const { packages } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as {
    packages: Readonly<Record<string, Locked>>;
  };
  const page = pageText('docs/dependencies.md');
  const core = codeWords(page.slice(page.indexOf("*The SDK's core*"), page.indexOf('\n## Node.js')));
  assert.ok(core.includes('@smithy/core'));

  const documented = tableRows(page).map(([name = '', licence, brings = '', why = '']) => {
    assert.ok(why.length > 10, `${name} has its reason`);
    const more = /the SDK's core/.test(brings) ? core : [];
    return [
      name.replaceAll('`', ''),
      { licence, brings: [...new Set([...more, ...codeWords(brings)])].sort() },
    ];
  });
  const real = Object.keys(packages['']?.dependencies ?? {}).map((name) => [
    name,
    // ssh2 has its licence in the form npm had before 2014, which the lock leaves out.
    { licence: packages[`node_modules/${name}`]?.license ?? 'MIT', brings: broughtBy(packages, name) },
  ]);
  assert.deepEqual(Object.fromEntries(documented), Object.fromEntries(real));
});

function broughtBy(packages: Readonly<Record<string, Locked>>, name: string): string[] {
  const seen = new Set<string>();
  const visit = (path: string) => {
    const { dependencies, optionalDependencies } = packages[path] ?? {};
    for (const each of Object.keys({ ...dependencies, ...optionalDependencies })) {
      const nested = `${path}/node_modules/${each}`;
      const found = nested in packages ? nested : `node_modules/${each}`;
      if (seen.has(found)) continue;
      seen.add(found);
      visit(found);
    }
  };
  visit(`node_modules/${name}`);
  return [...new Set([...seen].map((path) => path.replace(/^.*node_modules\//, '')))].sort();
}

test('the policies of docs/iam.md are JSON, and allow exactly the calls the program makes', () => {
  const policies = fences('docs/iam.md').filter(({ language }) => language === 'json');
  const allowed = policies.flatMap(({ text }) => {
    const { Version, Statement } = JSON.parse(text) as {
      Version: string;
      Statement: { Effect: string; Action: string | string[]; Resource: string | string[] }[];
    };
    assert.equal(Version, '2012-10-17');
    return Statement.flatMap(({ Effect, Action }) => {
      assert.equal(Effect, 'Allow');
      return Action;
    });
  });
  const sources = globSync('src/aws/*.ts', { cwd: root }).map((file) =>
    readFileSync(join(root, file), 'utf8'),
  );
  const called = sources.flatMap((text) =>
    [...text.matchAll(/'((?:ec2|ec2-instance-connect):[A-Z]\w+)'/g)].map(([, action]) => action),
  );
  // What the table of leases needs goes to the SDK by its command's name.
  const [, commands = ''] =
    /export \{([^}]*)\} from '@aws-sdk\/client-dynamodb'/.exec(sources.join('\n')) ?? [];
  const table = [...commands.matchAll(/([A-Z]\w+)Command\b/g)].map(
    ([, operation]) => `dynamodb:${operation}`,
  );
  // A tunnel is not a call of the SDK, but a signed URL.
  const tunnel = sources.some((text) => text.includes("'/openTunnel'"))
    ? ['ec2-instance-connect:OpenTunnel']
    : [];
  assert.ok(called.includes('ec2-instance-connect:SendSSHPublicKey'));
  assert.deepEqual([...new Set(allowed)].sort(), [...new Set([...called, ...table, ...tunnel])].sort());
});

test('docs/errors.md has a row for every error code, and no other', () => {
  const source = readFileSync(join(root, 'src/errors.ts'), 'utf8');
  const union = /export type ErrorCode =([^;]*);/.exec(source)?.[1] ?? assert.fail('ErrorCode was not found');
  const codes = [...union.matchAll(/'([a-z-]+)'/g)].map(([, code]) => code);
  assert.ok(codes.length > 25);
  const documented = tableRows(section('docs/errors.md', '## Troubleshooting')).flatMap(([code = '']) =>
    codeWords(code),
  );
  assert.deepEqual([...documented].sort(), [...codes].sort());
});

test('every link between documents, and into the source, has a target', () => {
  for (const page of pages) {
    const targets = [...pageText(page).matchAll(/\]\(([^)\s]+)\)/g)].map(([, target = '']) => target);
    for (const target of targets.filter((each) => !/^https?:/.test(each))) {
      const [path = '', anchor] = target.split('#');
      const file = path === '' ? page : join(dirname(page), path);
      assert.ok(existsSync(join(root, file)), `${page}: ${target}`);
      if (anchor === undefined) continue;
      const headings = [...pageText(file).matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) => slug(heading));
      assert.ok(headings.includes(anchor), `${page}: ${target}`);
    }
  }
});

test('every file that docs/architecture.md names in code exists, and every link text matches its target', () => {
  const page = 'docs/architecture.md';
  const text = pageText(page);
  const links = [...text.matchAll(/\[`([^`]+)`\]\(\.\.\/([^)]+)\)/g)];
  assert.ok(links.length > 40, 'the links were found');
  for (const [link, name = '', target = ''] of links) {
    if (name.includes('.')) assert.ok(target.endsWith(name), link);
  }
  const named = codeWords(text).filter((word) => /^(?:src|test|build|docs)\/|^[a-z-]+\.ts$/.test(word));
  const missing = named.filter(
    (name) => !existsSync(join(root, name)) && !links.some(([, linked]) => linked === name),
  );
  assert.deepEqual(missing, []);
});

/** As code hosts name the anchor of a heading. */
function slug(heading: string): string {
  return heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N} _-]/gu, '')
    .replaceAll(' ', '-');
}
