import assert from 'node:assert/strict';
import { generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';
import { test } from 'node:test';
import { findSession } from '../../src/agent/sessions.ts';
import { parseHostKey } from '../../src/ssh/hostkey.ts';
import { encodeString } from '../../src/ssh/wire.ts';

const name = encodeString('ssh-ed25519');

function makeHost(): { readonly blob: Buffer; readonly privateKey: KeyObject } {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  const raw = publicKey.export({ format: 'der', type: 'spki' }).subarray(-32);
  return { blob: Buffer.concat([name, encodeString(raw)]), privateKey };
}

/** A connection after its key exchange, with the session id that its host has signed. */
function connect({ blob, privateKey }: ReturnType<typeof makeHost>) {
  const sessionId = randomBytes(32);
  const signature = Buffer.concat([name, encodeString(sign(null, sessionId, privateKey))]);
  return { sessionId, host: { exchange: { hostKey: parseHostKey(blob), signature } } };
}

test('each of many sessions with one host is found, in any order and again', () => {
  const host = makeHost();
  const connections = Array.from({ length: 20 }, () => connect(host));
  for (const order of [connections, connections.toReversed(), connections])
    for (const one of order) {
      assert.equal(findSession({ sessionId: one.sessionId }, connections), one);
      assert.equal(findSession({ sessionId: one.sessionId, hostKey: host.blob }, connections), one);
    }
});

test('a session of no live connection is not found, before and after the others are known', () => {
  const host = makeHost();
  const [live, gone] = [connect(host), connect(host)];
  const starting = { sessionId: randomBytes(32), host: { exchange: undefined } };
  const find = (session: Parameters<typeof findSession>[0]) => findSession(session, [starting, live]);
  for (const _ of ['unknown', 'known']) {
    assert.equal(find({ sessionId: gone.sessionId }), undefined);
    assert.equal(find({ sessionId: starting.sessionId }), undefined);
    assert.equal(find({ sessionId: randomBytes(32) }), undefined);
    assert.equal(find({ sessionId: live.sessionId, hostKey: makeHost().blob }), undefined);
    assert.equal(find({ sessionId: live.sessionId }), live);
  }
});

test('a session id that its caller overwrites later finds nothing', () => {
  const connection = connect(makeHost());
  const given = Buffer.from(connection.sessionId);
  assert.equal(findSession({ sessionId: given }, [connection]), connection);
  given.fill(0);
  assert.equal(findSession({ sessionId: given }, [connection]), undefined);
  assert.equal(findSession({ sessionId: connection.sessionId }, [connection]), connection);
});
