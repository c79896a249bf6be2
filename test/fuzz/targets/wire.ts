/** The parsers of SSH's own messages, one message at a time. */
import assert from 'node:assert/strict';
import { AgentFrames, type AgentRequest, parseAgentRequest } from '../../../src/ssh/agent-messages.ts';
import { parseHostKey, verifyHostSignature } from '../../../src/ssh/hostkey.ts';
import { parseSessionBind, sessionBindName } from '../../../src/ssh/session-bind.ts';
import { parseUserauthRequest, type UserauthRequest } from '../../../src/ssh/userauth.ts';
import { encodeByte, encodeString, encodeUint32, WireReader } from '../../../src/ssh/wire.ts';
import { ecdsaBlob, ed25519Blob, rsaBlob, signatureOf } from '../material.ts';
import { inPieces } from '../pieces.ts';
import { attempt, Refusal, type Target } from '../target.ts';

const keyTypes = ['ssh-ed25519', 'ssh-rsa', 'ecdsa-sha2-nistp256', 'ecdsa-sha2-nistp521', 'nistp256'];
const sizes = [1, 20, 32, 48, 64, 65].map((size) => encodeUint32(size));

const readers: readonly ((reader: WireReader) => unknown)[] = [
  (reader) => reader.byte(),
  (reader) => reader.boolean(),
  (reader) => reader.uint32(),
  (reader) => reader.string(),
  (reader) => reader.text(),
  (reader) => reader.mpint(),
  (reader) => reader.nameList(),
  (reader) => reader.rest(),
  (reader) => reader.end(),
];

/** The first byte tells how many fields there are, one byte for each tells its type, the rest is the message. */
export const wire: Target = {
  name: 'wire',
  seeds: () => [
    Buffer.concat([Buffer.from([4, 0, 1, 2, 3]), Buffer.from([7, 1, 0, 0, 0, 9]), encodeString('bytes')]),
    Buffer.concat([Buffer.from([2, 4, 6]), encodeString('text'), encodeString('a,b,c')]),
    Buffer.concat([Buffer.from([3, 5, 7, 8]), encodeString(Buffer.from([0, 0x80, 1])), Buffer.from('rest')]),
  ],
  dictionary: [...sizes, Buffer.from([0, 0x80]), ',', '\u00e4', Buffer.from([0xc3])],
  longest: 512,
  run(input) {
    const count = Math.min(input[0] ?? 0, 16, Math.max(0, input.length - 1));
    const reader = new WireReader(input.subarray(1 + count));
    const words: string[] = [];
    for (const operation of input.subarray(1, 1 + count)) {
      const before = reader.remaining;
      const result = attempt(['not-ssh'], () => readers[operation % readers.length]?.(reader));
      assert.ok(reader.remaining <= before && reader.remaining >= 0);
      words.push(
        result instanceof Refusal ? result.message.slice(0, 40) : String(operation % readers.length),
      );
      if (result instanceof Refusal) break;
    }
    return words.slice(-1).join(' ');
  },
};

export const agentMessages: Target = {
  name: 'agent-messages',
  seeds: () => [
    encodeString(encodeByte(11)),
    encodeString(signRequest(userauthSeeds()[0] ?? Buffer.alloc(0))),
    encodeString(signRequest(userauthSeeds()[1] ?? Buffer.alloc(0))),
    encodeString(Buffer.concat([encodeByte(27), encodeString(sessionBindName), sessionBindSeed()])),
    Buffer.concat([encodeString(encodeByte(17)), encodeString(encodeByte(11))]),
  ],
  dictionary: [
    ...sizes,
    encodeString(sessionBindName),
    encodeString('ssh-connection'),
    encodeString('publickey'),
    encodeString('publickey-hostbound-v00@openssh.com'),
    ...keyTypes.map(encodeString),
    encodeUint32(256 * 1024),
    encodeUint32(256 * 1024 + 1),
  ],
  longest: 4096,
  run(input) {
    const whole = attempt(['not-ssh'], () => new AgentFrames().push(input));
    const frames = new AgentFrames();
    const pieces = attempt(['not-ssh'], () => inPieces(input).flatMap((piece) => frames.push(piece)));
    // Messages before a refused length are returned if the input is split, and lost if it is not.
    if (whole instanceof Refusal || pieces instanceof Refusal) {
      assert.ok(whole instanceof Refusal && pieces instanceof Refusal);
      return whole.words;
    }
    assert.deepEqual(pieces, whole);
    const words = whole.map((message) => answerOf(message));
    return words.slice(0, 3).join(' ');
  },
};

function answerOf(message: Buffer): string {
  const request = attempt(['not-ssh'], () => parseAgentRequest(message));
  if (request instanceof Refusal) return request.words;
  assert.deepEqual(encoded(request, message), message);
  if (request.type === 'sign-request') {
    const userauth = parseUserauthRequest(request.data);
    if (userauth !== undefined) assert.deepEqual(encodedUserauth(userauth), request.data);
    return `sign ${userauth?.method ?? 'nothing'} ${userauth?.sessionId.length ?? 0}`;
  }
  if (request.type !== 'extension' || request.name !== sessionBindName) return request.type;
  const bind = attempt(['not-ssh'], () => parseSessionBind(request.contents));
  return bind instanceof Refusal ? bind.words : `bind ${bind.isForwarding}`;
}

/** Encodes a request again: the parser must have read all bytes. */
function encoded(request: AgentRequest, message: Buffer): Buffer {
  switch (request.type) {
    case 'request-identities':
      return encodeByte(11);
    case 'sign-request':
      return signRequest(request.data, request.keyBlob, request.flags);
    case 'extension':
      return Buffer.concat([encodeByte(27), encodeString(request.name), request.contents]);
    case 'unsupported':
      return Buffer.concat([encodeByte(request.number), message.subarray(1)]);
  }
}

function signRequest(data: Buffer, keyBlob: Buffer = ed25519Blob, flags = 0): Buffer {
  return Buffer.concat([encodeByte(13), encodeString(keyBlob), encodeString(data), encodeUint32(flags)]);
}

function encodedUserauth(request: UserauthRequest): Buffer {
  return Buffer.concat([
    encodeString(request.sessionId),
    encodeByte(50),
    ...[request.user, request.service, request.method].map((word) => encodeString(word)),
    encodeByte(1),
    encodeString(request.algorithm),
    encodeString(request.publicKey),
    ...(request.hostKey === undefined ? [] : [encodeString(request.hostKey)]),
  ]);
}

function userauthSeeds(): Buffer[] {
  const request = {
    sessionId: Buffer.alloc(32, 5),
    user: 'ubuntu',
    service: 'ssh-connection',
    method: 'publickey',
    algorithm: 'ssh-ed25519',
    publicKey: ed25519Blob,
  } as const;
  const bound = { ...request, method: 'publickey-hostbound-v00@openssh.com', hostKey: ecdsaBlob } as const;
  return [encodedUserauth(request), encodedUserauth(bound)];
}

function sessionBindSeed(): Buffer {
  const fields: readonly Buffer[] = [ed25519Blob, Buffer.alloc(32, 5), signatureOf('ssh-ed25519', 64)];
  return Buffer.concat([...fields.map(encodeString), encodeByte(0)]);
}

/** A key's blob as a string, and behind it a signature. */
export const hostKeys: Target = {
  name: 'host-keys',
  seeds: () =>
    (
      [
        [ed25519Blob, signatureOf('ssh-ed25519', 64)],
        [ecdsaBlob, signatureOf('ecdsa-sha2-nistp256', 72)],
        [rsaBlob, signatureOf('rsa-sha2-512', 128)],
      ] as const
    ).map(([blob, signature]) => Buffer.concat([encodeString(blob), signature])),
  dictionary: [...sizes, ...keyTypes.map(encodeString), encodeString('rsa-sha2-256'), Buffer.from([4])],
  longest: 2600,
  run(input) {
    const length = input.length < 4 ? 0 : Math.min(input.readUInt32BE(0), input.length - 4);
    const blob = input.subarray(4, 4 + length);
    const key = attempt(['not-ssh'], () => parseHostKey(blob));
    if (key instanceof Refusal) return key.words;
    assert.match(key.fingerprint, /^SHA256:[A-Za-z0-9+/]{43}$/);
    assert.match(key.type, /^[!-+\--~]+$/);
    assert.equal(new WireReader(blob).text(), key.type);
    const isSigned = verifyHostSignature(
      key,
      Buffer.from('what it would have signed'),
      input.subarray(4 + length),
    );
    assert.equal(isSigned, false, 'a false signature');
    return keyTypes.includes(key.type) ? key.type : 'another type';
  },
};
