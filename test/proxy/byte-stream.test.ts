import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ByteStream } from '../../src/proxy/byte-stream.ts';
import { connectTcp } from '../../src/proxy/routes/direct.ts';
import { startChild } from '../openssh/child.ts';
import { MovableClock } from '../openssh/faketime.ts';

const listeners: net.Server[] = [];
const ends: { destroy(): void }[] = [];
after(() => {
  for (const end of ends) end.destroy();
  for (const listener of listeners) listener.close();
});

async function makeEnd(): Promise<{ end: ByteStream; far: net.Socket }> {
  const listener = net.createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1');
  listeners.push(listener);
  await once(listener, 'listening');
  const { port } = listener.address() as net.AddressInfo;
  const accepted = once(listener, 'connection') as Promise<[net.Socket]>;
  const end = await connectTcp({ host: '127.0.0.1', port }, 60_000);
  const [far] = await accepted;
  far.on('error', () => {});
  ends.push(end, far);
  return { end, far };
}

/** An end in a process of its own, whose clock the test moves. @param script what that process does with `end` */
async function clockedEnd(context: TestContext, script: string) {
  const listener = net.createServer({ allowHalfOpen: true }, (socket) =>
    socket.on('error', () => {}).resume(),
  );
  listeners.push(listener);
  await once(listener.listen(0, '127.0.0.1'), 'listening');
  const accepted = once(listener, 'connection') as Promise<[net.Socket]>;
  const { port } = listener.address() as net.AddressInfo;
  const directory = mkdtempSync(join(tmpdir(), 'mint-clock-'));
  context.after(() => rmSync(directory, { recursive: true, force: true }));
  const clock = new MovableClock(join(directory, 'clock'));
  const source = import.meta.resolve('../../src/proxy/routes/direct.ts');
  // The interval has the event loop look at the clock.
  const program = `
    const { connectTcp } = await import(${JSON.stringify(source)});
    const end = await connectTcp({ host: '127.0.0.1', port: ${port} }, 15_000);
    console.log('connected');
    setInterval(() => {}, 20);
    ${script}
    process.exit();`;
  const words = ['--input-type=module', '-e', program];
  const child = startChild(process.execPath, words, { ...process.env, ...clock.environment });
  await child.until(/connected\n/);
  const [far] = await accepted;
  ends.push(far);
  return { clock, child, far };
}

describe('one side of the connection', { concurrency: true, timeout: 300_000 }, () => {
  test('outlives the time limit for dialling', async (context) => {
    const { clock, child, far } = await clockedEnd(
      context,
      `console.log(String(await end.read()), await end.read());`,
    );
    clock.set(60);
    assert.equal(await Promise.race([child.done, sleep(300, 'waits')]), 'waits');
    far.end('still here');
    assert.equal((await child.done).stdout, 'connected\nstill here undefined\n');
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
      reader.write('a word that is not read yet');
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

  test('that does not answer its client’s end is closed after half a minute', async (context) => {
    const { clock, child } = await clockedEnd(
      context,
      `end.finish(); await end.read().catch(({ code }) => console.log(code));`,
    );
    clock.set(28);
    assert.equal(await Promise.race([child.done, sleep(300, 'waits')]), 'waits');
    clock.set(31);
    assert.equal((await child.done).stdout, 'connected\nETIMEDOUT\n');
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
