/** A store that Prism has written, used by both programs; `fixtures/prism/README.md` says where the file is from. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { keygen } from '../key-lines.ts';
import { keysPlace, type Place, snapshot } from './keys-program.ts';

const fixture = join(import.meta.dirname, 'fixtures/prism/metadata.json.txt');
const notServed = ['-hidden', 'group@uni.edu', 'größe', 'lab.2025'];
const served = ['grant-42', 'labs-key', 'research'];

interface Entry {
  aws_key_name: string;
  profile: string;
  region: string;
  created_at: string;
  type: string;
  instances: string[];
}

interface Metadata {
  keys: Record<string, Entry>;
  version: string;
}

function prismStore(context: TestContext): Place & { readonly keysDirectory: string } {
  const place = keysPlace(context);
  const keysDirectory = join(place.env['HOME'] ?? '', '.prism', 'keys');
  mkdirSync(keysDirectory, { recursive: true, mode: 0o700 });

  writeFileSync(join(keysDirectory, 'metadata.json'), readFileSync(fixture), { mode: 0o600 });
  for (const name of [...served, ...notServed]) {
    keygen('-q', '-N', '', '-t', 'rsa', '-b', '2048', '-m', 'PEM', '-f', join(keysDirectory, name));
  }
  return { ...place, keysDirectory };
}

const read = (directory: string) =>
  JSON.parse(readFileSync(join(directory, 'metadata.json'), 'utf8')) as Metadata;

/** As Prism reads and writes the file: with its own fields alone, in Go's order of the names. */
function rewrittenByPrism(directory: string, change: (metadata: Metadata) => void): void {
  const metadata = read(directory);
  change(metadata);
  const fields = ['aws_key_name', 'profile', 'region', 'created_at', 'type', 'instances'] as const;
  const keys = Object.entries(metadata.keys)
    .sort(([one], [other]) => (one < other ? -1 : 1))
    .map(([name, entry]) => [name, Object.fromEntries(fields.map((field) => [field, entry[field]]))]);
  const text = JSON.stringify({ keys: Object.fromEntries(keys), version: '1.0' }, undefined, 2);
  writeFileSync(join(directory, 'metadata.json'), text, { mode: 0o600 });
}

describe('a store of Prism', () => {
  test('with names that are invalid in mint-ssh is used for all others, and those are listed and not changed', async (context) => {
    const place = prismStore(context);
    const { keysDirectory } = place;
    const before = snapshot(keysDirectory);
    const listed = await place.keys(['list']);
    assert.equal(listed.status, 0, listed.stderr);
    for (const name of served) assert.match(listed.stdout, new RegExp(`^${name} .* rsa-2048$`, 'm'));
    for (const name of notServed) {
      assert.match(listed.stdout, new RegExp(`^${name.replace('.', '\\.')} .* not served$`, 'm'));
      assert.match(listed.stderr, new RegExp(`note: "${name.replace('.', '\\.')}" is left as it is: `));
    }
    const json = JSON.parse((await place.keys(['list', '--json'])).stdout) as {
      profile: string;
      problem: string | null;
    }[];
    assert.deepEqual(
      json.filter(({ problem }) => problem !== null).map(({ profile }) => profile),
      notServed,
    );
    const doctor = await place.keys(['doctor']);
    assert.equal(doctor.status, 0, doctor.stderr);
    assert.match(doctor.stderr, /note: "lab\.2025" is left as it is/);
    assert.match((await place.keys(['show', 'lab.2025'])).stderr, /cannot be used.* \(key-name\)/);
    assert.equal((await place.keys(['show', 'Grant 42'])).status, 0);
    const after = snapshot(keysDirectory);
    for (const [name, content] of Object.entries(before)) assert.equal(after[name], content, name);
  });

  test('gets keys that Prism can find and read, and keeps every field of its own', async (context) => {
    const place = prismStore(context);
    const { keysDirectory } = place;
    const made = await place.keys(['create', 'Grant 43', '--type', 'rsa-2048', '--region', 'eusc-de-east-1']);
    assert.equal(made.status, 0, made.stderr);
    const { keys } = read(keysDirectory);
    const original = (JSON.parse(readFileSync(fixture, 'utf8')) as Metadata).keys;
    for (const [name, entry] of Object.entries(original)) assert.deepEqual(keys[name], entry, name);
    // ListKeys joins the directory and `profile`; ImportKey and its readers take PKCS#1 PEM.
    const { profile, aws_key_name: awsName, instances } = keys['grant-43'] ?? ({} as Entry);
    assert.deepEqual([profile, awsName, instances], ['grant-43', 'cws-grant-43-eusc-de-east-1', []]);
    assert.ok(existsSync(join(keysDirectory, profile)));
    assert.match(readFileSync(join(keysDirectory, profile), 'utf8'), /^-----BEGIN RSA PRIVATE KEY-----\n/);
    assert.match(readFileSync(join(keysDirectory, `${profile}.pub`), 'utf8'), /^ssh-rsa /);
  });

  test('names new keys like its newest key', async (context) => {
    const place = prismStore(context);
    rewrittenByPrism(place.keysDirectory, ({ keys }) => {
      const { research } = keys;
      if (research === undefined) return;
      research.aws_key_name = 'prism-research-us-west-2';
      research.created_at = '2026-12-01T00:00:00.5+01:00';
    });
    assert.equal((await place.keys(['create', 'next', '--region', 'us-west-2'])).status, 0);
    assert.equal(read(place.keysDirectory).keys['next']?.aws_key_name, 'prism-next-us-west-2');
  });

  test('that Prism has rewritten has lost nothing of ours: names in other regions, an open rotation', async (context) => {
    const place = prismStore(context);
    const { keysDirectory } = place;
    assert.equal((await place.keys(['list'])).status, 0);
    const rotated = await place.keys(['rotate', 'labs-key']);
    assert.equal(rotated.status, 1, rotated.stderr);
    const fingerprint = /labs-key is (SHA256:\S+) now/.exec(rotated.stderr)?.[1];
    rewrittenByPrism(keysDirectory, ({ keys }) => {
      // A launch in another region overwrites the name of the last one.
      Object.assign(keys['research'] ?? {}, { region: 'eu-west-1', aws_key_name: 'cws-research-eu-west-1' });
    });
    for (const name of ['cws-research-us-west-2', 'cws-research-eu-west-1']) {
      const shown = await place.keys(['show', name]);
      assert.match(shown.stdout, /^profile: +research$/m, name);
    }
    const shown = await place.keys(['show', 'labs-key']);
    assert.match(shown.stdout, /^rotation: +not finished/m);
    assert.match(
      shown.stdout,
      new RegExp(`^fingerprint: +${fingerprint?.replaceAll(/[+/]/g, '\\$&')}$`, 'm'),
    );
    assert.ok(existsSync(join(keysDirectory, '.mint-ssh/labs-key.old')));
  });

  test('that was truncated while Prism wrote it is repaired with every readable entry', async (context) => {
    const place = prismStore(context);
    const { keysDirectory } = place;
    const whole = readFileSync(fixture, 'utf8');
    writeFileSync(join(keysDirectory, 'metadata.json'), whole.slice(0, whole.indexOf('"research"') + 40));
    assert.match((await place.keys(['list'])).stderr, /is not JSON \(key-store\)/);
    const { status, stderr } = await place.keys(['doctor']);
    assert.equal(status, 0, stderr);
    const { keys } = read(keysDirectory);
    const original = (JSON.parse(whole) as Metadata).keys;
    for (const [name, entry] of Object.entries(original)) {
      if (name !== 'research') assert.deepEqual(keys[name], entry, name);
    }
    assert.equal(keys['research']?.type, 'rsa-2048', 'made again from its file');
  });

  test('with a malformed entry is used for all others, and doctor does not change that entry', async (context) => {
    const place = prismStore(context);
    const { keysDirectory } = place;
    const wrong = { ...read(keysDirectory).keys['research'], instances: 'my-workstation' };
    const text = JSON.stringify({
      ...read(keysDirectory),
      keys: { ...read(keysDirectory).keys, research: wrong },
    });
    writeFileSync(join(keysDirectory, 'metadata.json'), text);
    const listed = await place.keys(['list']);
    assert.match(listed.stderr, /note: "research" is left as it is: instances .* is not a list of names/);
    assert.match(listed.stdout, /^grant-42 /m);
    assert.equal((await place.keys(['doctor'])).status, 1);
    assert.deepEqual(read(keysDirectory).keys['research'], wrong);
    assert.match((await place.keys(['rotate', 'research'])).stderr, /\(key-name\)/);
  });
});
