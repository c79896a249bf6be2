import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import net from 'node:net';
import { after, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ByteStream } from '../../src/proxy/byte-stream.ts';
import { connectTcp } from '../../src/proxy/routes/direct.ts';

const listeners: net.Server[] = [];
const ends: { destroy(): void }[] = [];
after(() => {
  for (const end of ends) end.destroy();
  for (const listener of listeners) listener.close();
});

async function makeEnd(limit = 5000): Promise<{ end: ByteStream; far: net.Socket }> {
  const listener = net.createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1');
  listeners.push(listener);
  await once(listener, 'listening');
  const { port } = listener.address() as net.AddressInfo;
  const accepted = once(listener, 'connection') as Promise<[net.Socket]>;
  const end = await connectTcp({ host: '127.0.0.1', port }, limit);
  const [far] = await accepted;
  far.on('error', () => {});
  ends.push(end, far);
  return { end, far };
}

describe('one side of the connection', { concurrency: true, timeout: 300_000 }, () => {
  test('outlives the time limit for dialling', async () => {
    const { end, far } = await makeEnd(200);
    await sleep(500);
    far.end('still here');
    assert.equal((await end.read())?.toString(), 'still here');
    assert.equal(await end.read(), undefined);
  });

  test('reports its close even if nothing reads its data', async () => {
    const { end, far } = await makeEnd();
    far.end('goodbye');
    await end.left;
    assert.equal((await end.read())?.toString(), 'goodbye');
    assert.equal(await end.read(), undefined);
  });

  test('buffers a limited amount before it is read, and then loses nothing', async () => {
    const { end, far } = await makeEnd();
    const { end: other, far: reader } = await makeEnd();
    const piece = Buffer.alloc(1 << 20, 5);
    const before = process.memoryUsage().rss;
    let written = 0;
    const feed = (async () => {
      for (; written < 128; written += 1) if (!far.write(piece)) await once(far, 'drain');
      far.end();
    })();
    await sleep(500);
    assert.ok(written < 64, `${written} MB went in unread`);
    assert.ok(process.memoryUsage().rss - before < 64 << 20);
    const copied = end.pipeTo(other).then(() => other.finish());
    let received = 0;
    for await (const bytes of reader) received += (bytes as Buffer).length;
    await Promise.all([feed, copied]);
    assert.equal(received, 128 << 20);
    reader.end();
  });

  test('keeps the bytes for a slow reader unchanged while that reader sends', async () => {
    const { end, far } = await makeEnd();
    const { end: other, far: reader } = await makeEnd();
    const all = randomBytes(16 << 20);
    const copied = end.pipeTo(other).then(() => other.finish());
    far.end(all);
    for (let count = 0; count < 20; count += 1) {
      await sleep(20);
      reader.write('a word that nobody reads yet');
    }
    const received: Buffer[] = [];
    for await (const bytes of reader) received.push(bytes as Buffer);
    await copied;
    assert.ok(Buffer.concat(received).equals(all));
    reader.end();
  });

  test('fails reads and writes after it is destroyed', async () => {
    const { end } = await makeEnd();
    const reading = end.read();
    end.destroy();
    await assert.rejects(reading, { code: 'EPIPE' });
    await assert.rejects(end.write(Buffer.from('x')), { code: 'EPIPE' });
    await end.left;
  });

  test('that does not answer its client’s end is closed after half a minute', async () => {
    const { end, far } = await makeEnd();
    far.resume();
    const begin = performance.now();
    end.finish();
    await assert.rejects(end.read(), { code: 'ETIMEDOUT' });
    const seconds = (performance.now() - begin) / 1000;
    assert.ok(seconds > 28 && seconds < 40, `${seconds} s`);
  });

  test('that keeps sending after its client’s end is read', async () => {
    const { end, far } = await makeEnd();
    end.finish();
    for (let count = 0; count < 3; count += 1) {
      far.write('more');
      assert.equal((await end.read())?.toString(), 'more');
      await sleep(100);
    }
    far.end();
    assert.equal(await end.read(), undefined);
  });
});
