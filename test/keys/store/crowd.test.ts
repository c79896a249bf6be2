import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { parseKeyFile } from '../../../src/keys/store/key-file.ts';
import { listKeys } from '../../../src/keys/store/key-store.ts';
import { publicBlob, publicLine } from '../../../src/keys/store/key-type.ts';
import { openKeyFile } from '../../../src/keys/store/private-key.ts';
import { readPrivateKey, readPublicKey } from '../../../src/keys/store/store-files.ts';
import { makeKey } from '../key-lines.ts';
import { keysPlace, readDirectory } from './keys-program.ts';

test('fifty processes that create, import, list and delete at once lose nothing and tear nothing', {
  timeout: 300_000,
}, async (context) => {
  const place = keysPlace(context);
  makeKey(place.directory, 'mine', '-t', 'ed25519');
  for (const number of [0, 1, 2, 3, 4]) {
    assert.equal((await place.keys(['create', `old-${number}`])).status, 0);
  }
  const commands = Array.from({ length: 50 }, (_, at) => {
    const number = Math.floor(at / 10);
    if (at % 10 < 4) return ['create', `new-${at}`];
    if (at % 10 < 6) return ['import', `in-${at}`, '--key-file', join(place.directory, 'mine')];
    if (at % 10 < 8) return ['list', '--json'];
    // All of them use the same one.
    if (at % 10 === 8) return ['create', 'contested'];
    return ['delete', `old-${number}`, '--force'];
  });
  const ended = await Promise.all(commands.map((words) => place.start(words).done));
  const won = ended.filter(({ status }, at) => status === 0 && commands[at]?.[1] === 'contested');
  assert.equal(won.length, 1);
  for (const [at, { status, stdout, stderr }] of ended.entries()) {
    const words = commands[at] ?? [];
    if (words[1] === 'contested' && status !== 0) assert.match(stderr, /\(key-exists\)/);
    else assert.equal(status, 0, `${words.join(' ')}: ${stderr}`);
    if (words[0] === 'list') assert.ok(Array.isArray(JSON.parse(stdout)));
  }
  const names = listKeys(place.store).map(({ name }) => name);
  const expected = commands.flatMap(([word, name = '']) =>
    word === 'create' || word === 'import' ? [name] : [],
  );
  assert.deepEqual([...names].sort(), [...new Set(expected)].sort());
  for (const name of names) {
    const key = await openKeyFile(parseKeyFile(readPrivateKey(place.store, name)), undefined);
    assert.equal(readPublicKey(place.store, name), publicLine(publicBlob(key), name).trim());
  }
  assert.equal(readDirectory(place.store).length, 2 * names.length + 2);
});
