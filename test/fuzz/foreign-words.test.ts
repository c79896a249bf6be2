/** Untrusted text that is shown or passed on must not act as a command. */
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { EventEmitter } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import type { WebSocket } from 'ws';
import { parse } from 'yaml';
import { type Announcement, buildLogBlock } from '../../src/ci/build-log.ts';
import { cloudConfig } from '../../src/ci/cloud-config.ts';
import { printable } from '../../src/cli/terminal.ts';
import { MintError } from '../../src/errors.ts';
import { TunnelStream } from '../../src/proxy/routes/endpoint-stream.ts';
import { explainResponse } from '../../src/proxy/routes/endpoint-tunnel.ts';
import { publicKeyLine } from '../../src/ssh/key-encoding.ts';
import { fc } from '../property.ts';
import { ed25519Line, fingerprint } from './material.ts';

const text = fc.string({ unit: 'binary', maxLength: 60 });
const tunnel = { endpoint: 'eice-0123456789abcdef0', url: 'wss://localhost/openTunnel', seconds: 3600 };

function assertShown({ message, hint }: MintError): void {
  for (const words of [message, hint ?? '']) {
    assert.equal(printable(words), words);
    assert.ok(words.length < 1000);
  }
}

test('shows one line of the message of an endpoint that opens no tunnel', async () => {
  const body = fc.array(fc.oneof(text, fc.json(), fc.constant('{"message":"\\u009b31m\\nno"}')), {
    maxLength: 4,
  });
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 100, max: 599 }), body, async (statusCode, parts) => {
      const chunks = parts.map((part) => Buffer.from(part)).filter(({ length }) => length > 0);
      const response = Object.assign(Readable.from(chunks), { statusCode }) as unknown as IncomingMessage;
      const error = await explainResponse(response, tunnel as never, { vm: 'dev' });
      assertShown(error);
      assert.ok(['aws-denied', 'aws-throttled', 'dial-failed'].includes(error.code), error.code);
    }),
    // A text that is cut in the middle of a character.
    { numRuns: 200, examples: [[500, [`x${'😀'.repeat(200)}`]]] },
  );
});

test('handles any reason for closing a tunnel as an end, or a printable error', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1000, max: 4999 }),
      fc.uint8Array({ maxLength: 123 }),
      async (code, reason) => {
        // Only the end of the stream matters.
        const socket = Object.assign(new EventEmitter(), {
          isPaused: false,
          readyState: 3,
          CLOSED: 3,
          close: () => {},
          terminate: () => {},
        });
        const stream = new TunnelStream(socket as unknown as WebSocket, tunnel.endpoint);
        const ended = new Promise<Error | undefined>((resolve) => {
          stream.once('error', resolve).once('end', () => resolve(undefined));
        });
        stream.resume();
        socket.emit('close', code, Buffer.from(reason));
        const error = await ended;
        if (error instanceof MintError) assertShown(error);
        else assert.ok(error === undefined || (error as NodeJS.ErrnoException).code === 'ECONNRESET');
        assert.equal(error === undefined, code === 1000 || code === 1005);
      },
    ),
    { numRuns: 200 },
  );
});

test('cloud-init reads any key comment and user of a job unchanged', async () => {
  const { privateKey } = generateKeyPairSync('ed25519');
  const user = fc.option(fc.stringMatching(/^[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,31}$/), { nil: undefined });
  const comment = fc.stringMatching(/^[\x20-\x7e]{0,40}$/);
  await fc.assert(
    fc.asyncProperty(user, comment, fc.boolean(), fc.boolean(), async (name, words, sudo, withHostKey) => {
      const authorizedKey = `${ed25519Line} ${words}`;
      const hostKey = withHostKey ? privateKey : undefined;
      const written = await cloudConfig({ authorizedKey, user: name, sudo, hostKey });
      assert.match(written, /^#cloud-config\n/);
      // cloud-init's own parser is one of YAML 1.1.
      const read = parse(written, { version: '1.1' }) as {
        ssh_authorized_keys?: string[];
        users?: [string, { name: string; ssh_authorized_keys: string[] }];
        ssh_keys?: { ed25519_private: string; ed25519_public: string };
      };
      const keys = name === undefined ? read.ssh_authorized_keys : read.users?.[1].ssh_authorized_keys;
      assert.deepEqual(keys, [authorizedKey]);
      if (name !== undefined) assert.equal(read.users?.[1].name, name);
      assert.equal(read.ssh_keys?.ed25519_public, withHostKey ? publicKeyLine(privateKey) : undefined);
      if (withHostKey)
        assert.match(
          read.ssh_keys?.ed25519_private ?? '',
          /^-----BEGIN OPENSSH PRIVATE KEY-----\n.*-----END OPENSSH PRIVATE KEY-----\n$/s,
        );
    }),
    { numRuns: 60 },
  );
});

test('no text of a debug session is a command in a build log', () => {
  const hostile = fc.oneof(
    text,
    fc.constantFrom(
      '::set-env name=X::1',
      '##[error]x',
      '\n::warning::x',
      '\u001b[0Ksection_end:1:x\r',
      'a\r\n::stop::',
    ),
  );
  fc.assert(
    fc.property(hostile, hostile, hostile, hostile, (user, host, type, admitted) => {
      const announcement: Announcement = {
        lease: {
          ...{
            id: '0123456789ab',
            project: 'web',
            vm: 'ci-1',
            holder: 'me',
            startedAt: 1,
            endsAt: 3_600_000,
            isToEnd: false,
          },
          ...{ host, user, port: 22, destroy: { kind: 'command' } },
        },
        hostKey: { type, base64: 'AAAA', fingerprint },
        privateKey: undefined,
        authorized: [admitted],
        armedBy: 'systemd-run',
        endOptions: '',
      };
      const github = buildLogBlock(announcement, 'github', 0);
      const commands = github.split(/[\r\n]+/).filter((line) => line.startsWith('::'));
      assert.deepEqual(
        commands.map((line) => line.split('::')[1]?.split(' ')[0]),
        ['group', 'endgroup'],
      );
      assert.ok(!github.includes('##['));
      const gitlab = buildLogBlock(announcement, 'gitlab', 0);
      assert.equal(gitlab.split('\u001b').length - 1, 4, 'its own markers alone have escapes');
      const json = buildLogBlock(announcement, 'json', 0);
      assert.equal(json.trimEnd().split('\n').length, 1);
      assert.equal((JSON.parse(json) as { user: string }).user, user);
    }),
    { numRuns: 500 },
  );
});
