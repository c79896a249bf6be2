/** Written values are read back, for each format and any values. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { encodeLine, lineSplitter, parseRequest } from '../../src/agent/control/messages.ts';
import type { OpenRequest } from '../../src/agent/control/protocol.ts';
import { printable } from '../../src/cli/terminal.ts';
import { metadataWith, parseMetadata } from '../../src/keys/store/metadata.ts';
import { appendAudit } from '../../src/platform/audit.ts';
import { resolvePaths } from '../../src/platform/paths.ts';
import { loadSettings } from '../../src/settings/settings.ts';
import { AgentFrames, parseAgentRequest } from '../../src/ssh/agent-messages.ts';
import { parseHostKey } from '../../src/ssh/hostkey.ts';
import { negotiate } from '../../src/ssh/kexinit.ts';
import { parseSessionBind } from '../../src/ssh/session-bind.ts';
import { parseUserauthRequest } from '../../src/ssh/userauth.ts';
import { encodeByte, encodeString, encodeUint32 } from '../../src/ssh/wire.ts';
import { renderSshConfig } from '../../src/ssh-config/render.ts';
import { readConsoleKeys } from '../../src/trust/console-host-keys.ts';
import { evidences, type PinnedKey, refusalReasons } from '../../src/trust/pin.ts';
import { formatRecord, parseRecord } from '../../src/trust/record.ts';
import { findings, type LocatedVm, parseLocatedVm, states } from '../../src/vms/located-vm.ts';
import { fc } from '../property.ts';
import { ecdsaBlob, ed25519Blob, rsaBlob } from './material.ts';
import { inPieces } from './pieces.ts';

const bytes = fc.uint8Array({ maxLength: 80 }).map((array) => Buffer.from(array));
const text = fc.string({ unit: 'binary', maxLength: 40 });
const maybe = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined });

test('reads the fields of a session-bind, and refuses a truncated one', () => {
  fc.assert(
    fc.property(
      bytes,
      bytes,
      bytes,
      fc.boolean(),
      fc.nat(),
      (hostKey, sessionId, signature, isForwarding, at) => {
        const whole = Buffer.concat([
          ...[hostKey, sessionId, signature].map(encodeString),
          encodeByte(isForwarding ? 1 : 0),
        ]);
        assert.deepEqual(parseSessionBind(whole), { hostKey, sessionId, signature, isForwarding });
        assert.throws(() => parseSessionBind(whole.subarray(0, at % whole.length)), { code: 'not-ssh' });
      },
    ),
  );
});

test('reads the fields of a userauth request, and refuses one with a byte more or less', () => {
  const sessionId = fc.constantFrom(20, 32, 48, 64).map((length) => Buffer.alloc(length, length));
  fc.assert(
    fc.property(sessionId, text, text, bytes, maybe(bytes), (id, user, algorithm, publicKey, hostKey) => {
      // Clients cannot send text that UTF-8 cannot represent.
      fc.pre([user, algorithm].every((word) => word.isWellFormed()));
      const method = hostKey === undefined ? 'publickey' : 'publickey-hostbound-v00@openssh.com';
      const data = Buffer.concat([
        encodeString(id),
        encodeByte(50),
        ...[user, 'ssh-connection', method].map(encodeString),
        encodeByte(1),
        encodeString(algorithm),
        encodeString(publicKey),
        ...(hostKey === undefined ? [] : [encodeString(hostKey)]),
      ]);
      const expected = { sessionId: id, user, service: 'ssh-connection', method, algorithm, publicKey };
      const read = parseUserauthRequest(data);
      assert.deepEqual(read, hostKey === undefined ? expected : { ...expected, hostKey });
      assert.equal(parseUserauthRequest(data.subarray(0, -1)), undefined);
      assert.equal(parseUserauthRequest(Buffer.concat([data, Buffer.alloc(1)])), undefined);
    }),
  );
});

test('reads the requests to an ssh-agent unchanged from a socket', () => {
  const request = fc.tuple(bytes, bytes, fc.nat(0xffffffff)).map(([keyBlob, data, flags]) => ({
    type: 'sign-request' as const,
    keyBlob,
    data,
    flags,
  }));
  fc.assert(
    fc.property(fc.array(request, { maxLength: 5 }), (requests) => {
      const stream = Buffer.concat(
        requests.map(({ keyBlob, data, flags }) =>
          encodeString(
            Buffer.concat([encodeByte(13), encodeString(keyBlob), encodeString(data), encodeUint32(flags)]),
          ),
        ),
      );
      const frames = new AgentFrames();
      const read = inPieces(stream).flatMap((piece) => frames.push(piece).map(parseAgentRequest));
      assert.deepEqual(read, requests);
    }),
  );
});

test('reads the requests to our own agent unchanged from its socket', () => {
  const request: fc.Arbitrary<OpenRequest> = fc.record({
    type: fc.constant('open' as const),
    version: fc.nat(),
    vm: text,
    port: maybe(fc.integer({ min: 1, max: 65_535 })),
    user: maybe(text),
    profile: maybe(text),
    region: maybe(text),
    environment: fc.dictionary(fc.string(), text),
    session: maybe(text),
    upstreamAgent: maybe(text),
    established: fc.boolean(),
    byName: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(request, { maxLength: 4 }), (requests) => {
      const read: unknown[] = [];
      const split = lineSplitter((message) => read.push(parseRequest(message)));
      for (const piece of inPieces(Buffer.from(requests.map(encodeLine).join('')))) split(piece);
      // JSON has no undefined.
      const plain = (value: unknown) => JSON.parse(JSON.stringify(value)) as unknown;
      assert.deepEqual(plain(read), plain(requests));
    }),
  );
});

test('two KEXINITs agree on the client’s first name that the server has', () => {
  const names = fc.uniqueArray(fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f'), { maxLength: 6 });
  const side = fc.record({ keyExchanges: names, hostKeyAlgorithms: names, firstPacketFollows: fc.boolean() });
  fc.assert(
    fc.property(side, side, (client, server) => {
      const { keyExchange, hostKeyAlgorithm, guessedRight } = negotiate(client, server);
      const common = (one: readonly string[], other: readonly string[]) => {
        const both = other.filter((name) => one.includes(name));
        return both.sort((a, b) => one.indexOf(a) - one.indexOf(b))[0];
      };
      assert.equal(keyExchange, common(client.keyExchanges, server.keyExchanges));
      assert.equal(hostKeyAlgorithm, common(client.hostKeyAlgorithms, server.hostKeyAlgorithms));
      // RFC 4253 §7: right where the first names are the same ones.
      if (guessedRight && client.keyExchanges.length > 0) assert.equal(keyExchange, client.keyExchanges[0]);
    }),
  );
});

test('a record keeps known and unknown fields', () => {
  const keys = [ed25519Blob, ecdsaBlob, rsaBlob].map(parseHostKey);
  const key = fc.constantFrom(...keys);
  const place = { instance: maybe(text), account: maybe(text), region: maybe(text) };
  const pinned = fc
    .record({
      key,
      evidence: maybe(fc.constantFrom(...evidences)),
      pinnedAt: maybe(text),
      firstSeen: maybe(text),
    })
    .map((fields): PinnedKey => ({ ...fields, fingerprint: fields.key.fingerprint, type: fields.key.type }));
  const refused = fc.record({ key, reason: fc.constantFrom(...refusalReasons), seenAt: text, ...place });
  const shown = key.map((one) => ({ type: one.type, fingerprint: one.fingerprint, key: one }));
  const console = fc.record({
    instance: text,
    keys: fc.array(shown, { maxLength: 3 }),
    isWhole: fc.boolean(),
  });
  const unknown = fc.dictionary(
    fc.string({ maxLength: 8 }).map((name) => `x-${name}`),
    fc.jsonValue(),
  );
  const record = fc.record({
    ...place,
    keys: fc.array(pinned, { maxLength: 3 }),
    lastLogin: maybe(text),
    console: maybe(console),
    refused: fc.array(refused, { maxLength: 3 }),
    unknown,
  });
  fc.assert(
    fc.property(record, (known) => {
      const written = formatRecord(known);
      const read = parseRecord(written, '/hosts/dev.json');
      assert.deepEqual(JSON.parse(formatRecord(read)), JSON.parse(written));
      assert.deepEqual(
        read.keys.map(({ fingerprint, evidence }) => [fingerprint, evidence]),
        known.keys.map(({ fingerprint, evidence }) => [fingerprint, evidence]),
      );
      assert.deepEqual(
        read.refused.map((one) => one.key.blob),
        known.refused.map((one) => one.key.blob),
      );
      assert.deepEqual(JSON.parse(JSON.stringify(read.unknown)), JSON.parse(JSON.stringify(known.unknown)));
    }),
  );
});

test('metadata.json keeps every entry that another program wrote, to the last digit', () => {
  const numbers = fc.constantFrom('1.0', '1e400', '-0', '12345678901234567890', '0.10', '1E2');
  fc.assert(
    fc.property(
      fc.array(numbers, { maxLength: 4 }),
      fc.dictionary(fc.string(), fc.jsonValue()),
      (digits, more) => {
        const entry = `{"profile":"Work","numbers":[${digits}],"more":${JSON.stringify(more)}}`;
        const read = parseMetadata(`{"version":"1.0","keys":{"work":${entry}}}`);
        const written = metadataWith(read, 'other', { profile: 'Other' });
        const packed = written.replace(/\n\s*/g, '').replace(/": /g, '":');
        if (JSON.stringify(more).includes('": ')) return;
        assert.ok(packed.includes(digits.join(',')), packed);
        assert.deepEqual(
          parseMetadata(written).keys.map(({ name }) => name),
          ['work', 'other'],
        );
      },
    ),
  );
});

test('a VM in the cache is read back as it was written', () => {
  const vm: fc.Arbitrary<LocatedVm> = fc.record({
    name: fc.constant('dev'),
    found: fc.constantFrom(...findings),
    instance: fc.constantFrom('i-01234567', 'i-0123456789abcdef0'),
    state: fc.constantFrom(...states),
    account: text,
    region: text,
    owner: maybe(text),
    bootstrap: maybe(text),
    publicAddress: maybe(fc.ipV4()),
    privateAddress: maybe(fc.ipV4()),
    ipv6: maybe(fc.ipV6()),
    isMint: fc.boolean(),
    seenAt: fc.nat(),
  });
  fc.assert(
    fc.property(vm, (known) => {
      const read = parseLocatedVm('dev', JSON.parse(JSON.stringify(known)));
      assert.equal(JSON.stringify(read), JSON.stringify(known));
    }),
  );
});

test('finds keys in a console’s output among other lines', () => {
  const keys = [ed25519Blob, ecdsaBlob, rsaBlob].map(parseHostKey);
  const noise = fc.stringMatching(/^[a-z \t\][]{0,30}$/);
  const prefix = fc.constantFrom('', 'ec2: ', '[   12.345678] cloud-init[999]: ', '<14>', '\u001b[0;1m');
  fc.assert(
    fc.property(fc.subarray(keys), fc.array(noise, { maxLength: 9 }), prefix, (shown, others, start) => {
      const lines = shown.map(
        ({ type, blob }) => `${start}${type} ${blob.toString('base64')} root@ip-10-0-0-1`,
      );
      const edge = (word: string) => `${start}-----${word} SSH HOST KEY KEYS-----`;
      const output = [
        '[    0.000000] Linux version 6.1.0',
        ...others,
        edge('BEGIN'),
        ...lines.flatMap((line, at) => [line, others[at] ?? '']),
        edge('END'),
        ...others,
      ].join('\r\n');
      assert.deepEqual(
        readConsoleKeys(output).keys.map(({ fingerprint }) => fingerprint),
        shown.map(({ fingerprint }) => fingerprint),
      );
    }),
  );
});

test('a block has one line for each setting and no other, for any settings', (context) => {
  const directory = mkdtempSync(join(tmpdir(), 'mint-properties-'));
  context.after(() => rmSync(directory, { recursive: true, force: true }));
  const paths = resolvePaths({ configDir: directory });
  const word = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 20 }),
    fc.stringMatching(/^[a-z0-9._-]{1,20}$/),
  );
  const lineCount = (user: string | undefined) => {
    writeFileSync(
      paths.sshToml,
      `[vm.dev]\n${user === undefined ? '' : `user = ${JSON.stringify(user)}\n`}`,
      {
        mode: 0o600,
      },
    );
    const vm = loadSettings(paths, {}).named('dev');
    const rendered = renderSshConfig([{ vm, forwardAgent: false }], {
      paths,
      program: '/opt/mint-ssh',
      used: new Set(),
    });
    return rendered.split('\n').length;
  };
  const usual = lineCount(undefined);
  fc.assert(
    fc.property(word, (user) => {
      try {
        assert.equal(lineCount(user), usual);
      } catch (error) {
        assert.equal((error as { code?: string }).code, 'bad-settings');
      }
    }),
    { numRuns: 60 },
  );
});

test('each event is one line of audit.log, in ASCII and JSON', (context) => {
  const directory = mkdtempSync(join(tmpdir(), 'mint-properties-'));
  context.after(() => rmSync(directory, { recursive: true, force: true }));
  const paths = resolvePaths({ configDir: directory });
  let count = 0;
  fc.assert(
    fc.property(text, text, maybe(text), (command, vm, user) => {
      assert.ok(appendAudit(paths, { event: 'push', command, vm, user }));
      count += 1;
      const log = readFileSync(paths.audit);
      assert.ok(log.every((byte) => byte < 0x7f));
      const lines = log.toString('latin1').trimEnd().split('\n');
      assert.equal(lines.length, count);
      const last = JSON.parse(lines.at(-1) ?? '') as Record<string, unknown>;
      assert.deepEqual([last['command'], last['vm_name'], last['user']], [command, vm, user]);
    }),
    { numRuns: 60 },
  );
});

test('printed text has no character that acts on a terminal', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (foreign) => {
      const shown = printable(foreign);
      assert.doesNotMatch(shown, /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u);
      assert.equal(printable(shown), shown);
    }),
    { numRuns: 1000 },
  );
});
