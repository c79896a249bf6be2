import assert from 'node:assert/strict';
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { type KeyRecord, lookUp } from '../../../src/keys/store/key-store.ts';
import { keyStoreDirectory } from '../../../src/keys/store/location.ts';
import { metadataWith, parseMetadata } from '../../../src/keys/store/metadata.ts';
import { awsKeyName, isKeyName, profileName } from '../../../src/keys/store/profile-name.ts';
import { ownDirectory, refusal } from '../../platform/directory.ts';
import { fc } from '../../property.ts';
import { keygen } from '../key-lines.ts';
import { keysPlace } from './keys-program.ts';

/** As an older system wrote it, with its own fields. */
const older = `{
  "keys": {
    "research": {
      "aws_key_name": "cws-research-us-west-2",
      "profile": "research",
      "region": "us-west-2",
      "created_at": "2025-10-17T12:00:00Z",
      "type": "rsa-2048",
      "instances": [
        "my-workstation"
      ],
      "cost_center": {
        "id": 12345678901234567890,
        "share": 1.50
      }
    },
    "big-lab": {
      "aws_key_name": "cws-big-lab-us-east-1",
      "aws_key_names": {
        "eu-central-1": "cws-big-lab-eu-central-1"
      },
      "profile": "Big_Lab",
      "region": "us-east-1",
      "created_at": "2025-10-18T12:00:00Z",
      "type": "ed25519",
      "instances": null
    }
  },
  "version": "1.0",
  "written_by": "cws 0.5"
}
`;

describe('metadata.json', () => {
  test('of an older system is written back byte for byte, except the changed entry', () => {
    const metadata = parseMetadata(older);
    const entry = metadata.entries['research'] as Readonly<Record<string, unknown>>;
    assert.equal(metadataWith(metadata, 'research', entry), older);
    const without = parseMetadata(metadataWith(metadata, 'research', undefined));
    assert.deepEqual(
      without.keys.map(({ name }) => name),
      ['big-lab'],
    );
    assert.equal(without.whole['written_by'], 'cws 0.5');
  });

  test('finds a key by its profile and by each of its names in EC2, hyphens or not', () => {
    const record = (name: string, ...ec2Names: readonly string[]): KeyRecord => ({
      name,
      region: 'us-east-1',
      awsKeyName: ec2Names[0],
      createdAt: '',
      type: 'ed25519',
      instances: [],
      machines: [],
      ec2Names: ec2Names.map((each) => ({ region: 'us-east-1', name: each })),
      rotation: undefined,
      hasNext: false,
    });
    const keys = [
      record('research', 'cws-research-us-west-2'),
      record('big-lab', 'cws-big-lab-us-east-1', 'cws-big-lab-eu-central-1'),
    ];
    const names = (given: string) => lookUp(keys, given)?.name;
    for (const given of ['big-lab', 'Big_Lab', 'cws-big-lab-us-east-1', 'cws-big-lab-eu-central-1']) {
      assert.equal(names(given), 'big-lab', given);
    }
    assert.equal(names('cws-research-us-west-2'), 'research');
    assert.equal(names('cws-research-us-east-1'), undefined);
    assert.equal(names('lab'), undefined);
    const long = `cws-${'x'.repeat(63)}-us-east-1`;
    assert.equal(lookUp([record('x', long)], long)?.name, 'x');
    const twice = [record('research', 'cws-research-us-west-2'), record('other', 'cws-research-us-west-2')];
    assert.throws(() => lookUp(twice, 'cws-research-us-west-2'), refusal('key-store'));
    assert.equal(lookUp(twice, 'other')?.name, 'other');
  });

  test('is read or refused with one code for any content', () => {
    fc.assert(
      fc.property(fc.json(), (text) => {
        try {
          parseMetadata(text);
        } catch (error) {
          assert.ok(refusal('key-store')(error));
        }
      }),
    );
  });

  test('every profile becomes a safe file name, or is refused', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 80 }), (profile) => {
        try {
          assert.ok(isKeyName(profileName(profile)));
        } catch (error) {
          assert.ok(refusal('key-name')(error));
        }
      }),
    );
    assert.equal(profileName('My Big_Lab'), 'my-big-lab');
    assert.equal(awsKeyName('my-lab', 'us-gov-west-1'), 'cws-my-lab-us-gov-west-1');
    assert.equal(awsKeyName('my-lab', undefined), undefined);
  });
});

describe('the store', () => {
  test('is the given one, else ours, else an older system’s if only that has keys', (context) => {
    const home = ownDirectory(context);
    const keys = join(home, 'config', 'keys');
    const environment = { HOME: home };
    const where = (flag?: string, more = {}) =>
      keyStoreDirectory({ keys }, flag, { ...environment, ...more });
    const begin = (path: string) => {
      mkdirSync(path, { recursive: true });
      writeFileSync(join(path, 'metadata.json'), '');
    };
    assert.equal(where(), keys);
    const [prism, cloud] = [join(home, '.prism/keys'), join(home, '.cloudworkstation/keys')];
    mkdirSync(cloud, { recursive: true });
    assert.equal(where(), keys);
    begin(prism);
    assert.equal(where(), prism);
    begin(cloud);
    assert.equal(where(), cloud);
    begin(keys);
    assert.equal(where(), keys);
    assert.equal(where(undefined, { MINT_KEYS_DIR: '/elsewhere' }), '/elsewhere');
    assert.equal(where('/named', { MINT_KEYS_DIR: '/elsewhere' }), '/named');
  });

  test('of an older system is used in place: its keys, its metadata, its directory', async (context) => {
    const place = keysPlace(context);
    const store = join(place.env['HOME'] ?? '', '.cloudworkstation', 'keys');
    mkdirSync(store, { recursive: true, mode: 0o700 });
    writeFileSync(join(store, 'metadata.json'), older, { mode: 0o600 });
    keygen('-q', '-N', '', '-t', 'rsa', '-b', '2048', '-m', 'PEM', '-f', join(store, 'research'));
    keygen('-q', '-N', '', '-t', 'ed25519', '-f', join(store, 'big-lab'));
    const kept = join(place.directory, 'kept');
    cpSync(store, kept, { recursive: true });

    const { stdout } = await place.keys(['list']);
    assert.match(stdout, /^PROFILE +REGION +INSTANCES +CREATED +TYPE$/m);
    assert.match(stdout, /^research +us-west-2 +1 +2025-10-17 +rsa-2048$/m);
    const shown = await place.keys(['show', 'cws-big-lab-eu-central-1', '--json']);
    const told = JSON.parse(shown.stdout) as Record<string, unknown>;
    assert.deepEqual([told['profile'], told['path']], ['big-lab', join(store, 'big-lab')]);
    const output = join(place.directory, 'out');
    assert.equal((await place.keys(['export', 'research', '--output', output])).status, 0);
    for (const name of ['research', 'research.pub']) {
      assert.deepEqual(readFileSync(join(store, name)), readFileSync(join(kept, name)), name);
    }
    assert.equal((await place.keys(['create', 'new', '--region', 'us-west-2'])).status, 0);
    const written = readFileSync(join(store, 'metadata.json'), 'utf8');
    const { whole, keys } = parseMetadata(written);
    assert.deepEqual(
      keys.map(({ name }) => name),
      ['research', 'big-lab', 'new'],
    );
    // The names in further regions are ours, and an earlier version wrote them here: they have moved to our own file.
    const names = /,\n *"aws_key_names": \{[^}]*\}/;
    assert.equal(
      metadataWith({ ...parseMetadata(written), whole }, 'new', undefined),
      older.replace(names, ''),
    );
    assert.match(written, /\n {4}"new": \{\n {6}"aws_key_name": "cws-new-us-west-2",\n {6}"profile": "new",/);
    const again = await place.keys(['show', 'cws-big-lab-eu-central-1', '--json']);
    assert.match(again.stdout, /"cws-big-lab-eu-central-1"/);
  });

  test('uses the region of the settings or the environment, or none', async (context) => {
    const place = keysPlace(context);
    assert.equal((await place.keys(['create', 'none'])).status, 0);
    assert.equal((await place.start(['create', 'one'], { AWS_REGION: 'eu-west-1' }).done).status, 0);
    writeFileSync(join(place.directory, 'config', 'ssh.toml'), 'region = "eu-central-1"\n', { mode: 0o600 });
    assert.equal((await place.start(['create', 'two'], { AWS_REGION: 'eu-west-1' }).done).status, 0);
    const { stdout } = await place.keys(['list', '--json']);
    const names = (JSON.parse(stdout) as { ec2_key_pairs: { name: string }[] }[]).map(
      (key) => key.ec2_key_pairs[0]?.name,
    );
    assert.deepEqual(names, [undefined, 'cws-one-eu-west-1', 'cws-two-eu-central-1']);
  });
});

test('reads a file that an editor has put a byte order mark in front of, and writes none', () => {
  const metadata = parseMetadata(`\uFEFF${older}`);
  assert.deepEqual(metadata.keys, parseMetadata(older).keys);
  assert.equal(metadataWith(metadata, 'absent', undefined).charAt(0), '{');
});
