/** The SSH client's end: the stdin and stdout that ssh gives its ProxyCommand, pipes as a rule, or files. */
import { closeSync, createReadStream, createWriteStream, fstatSync, openSync } from 'node:fs';
import net from 'node:net';
import type { Readable, Writable } from 'node:stream';
import { bufferSize, End, type Receiver } from './end.ts';

/** In a file's mode (S_IFMT, S_IFIFO): `fs.constants` has the second one on Unix only. */
const fileType = 0o170_000;
const pipeType = 0o010_000;

/** The SSH client: our stdin and stdout. */
export function stdioClient(): End {
  return new End((receive) => {
    const source = isPipe(0) ? pipeSource(receive) : fileSource(receive);
    const sink = isPipe(1)
      ? new net.Socket({ fd: 1, readable: false, writable: true })
      : createWriteStream('', { fd: 1, autoClose: false });
    return { source, sink, closeSink: () => closeStdout(sink, source) };
  });
}

function isPipe(descriptor: number): boolean {
  const status = fstatSync(descriptor);
  // On Windows isFIFO() is false whatever it is.
  return (status.mode & fileType) === pipeType || status.isSocket();
}

function pipeSource(receive: Receiver): Readable {
  const onread = {
    buffer: Buffer.allocUnsafeSlow(bufferSize),
    callback: (length: number, buffer: Uint8Array) => receive((buffer as Buffer).subarray(0, length)),
  };
  return new net.Socket({ fd: 0, readable: true, writable: false, onread });
}

function fileSource(receive: Receiver): Readable {
  const source = createReadStream('', { fd: 0, autoClose: false, highWaterMark: bufferSize });
  source.on('data', (bytes) => {
    if (!receive(bytes as Buffer)) source.pause();
  });
  return source.pause();
}

/**
 * libuv never closes descriptors 0 to 2, so a client would wait for an end that does not come: close it by
 * hand, and put something harmless in its place so that no later file becomes "stdout". On Windows that is no
 * close either: there the client sees the end when this process has gone, so nothing more is taken from it.
 */
function closeStdout(sink: Writable, source: Readable): void {
  sink.destroy();
  if (process.platform === 'win32') {
    source.destroy();
    return;
  }
  try {
    closeSync(1);
    openSync('/dev/null', 'w');
  } catch {
    // Closed before: that is what was wanted.
  }
}
