/** A proxy in front of a service: it passes requests unchanged, and can stop one before or after it is carried out. */
import { createServer, request as forward, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** Selects a request by its operation and a word in it. */
export interface Stop {
  readonly operation: string;
  readonly word: string;
  /** Whether the service has carried it out by then: only its answer is missing. */
  readonly isDone: boolean;
}

export interface Gate {
  readonly endpoint: string;
  /** Resolves when such a request arrives; it is never answered. */
  stop(stop: Stop): Promise<void>;
  close(): Promise<void>;
}

export async function startGate(service: string): Promise<Gate> {
  const stops: { readonly stop: Stop; readonly reached: () => void }[] = [];
  const { hostname, port } = new URL(service);
  const pass = async (message: IncomingMessage, response: ServerResponse): Promise<void> => {
    const pieces: Buffer[] = [];
    for await (const piece of message as AsyncIterable<Buffer>) pieces.push(piece);
    const body = Buffer.concat(pieces);
    const said = `${String(message.headers['x-amz-target'])} ${body.toString()}`;
    const at = stops.findIndex(({ stop }) => said.includes(stop.operation) && said.includes(stop.word));
    const [found] = at < 0 ? [] : stops.splice(at, 1);
    if (found !== undefined && !found.stop.isDone) return found.reached();
    const { method, url, headers } = message;
    const onward = forward({ host: hostname, port, method, path: url, headers }, (reply) => {
      if (found !== undefined) return void reply.resume().on('end', found.reached);
      response.writeHead(reply.statusCode ?? 500, reply.headers);
      reply.pipe(response);
    });
    onward.on('error', () => response.destroy());
    onward.end(body);
  };
  const server = createServer((message, response) => {
    pass(message, response).catch(() => response.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    stop: (stop) => new Promise((reached) => stops.push({ stop, reached })),
    close() {
      return new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      });
    },
  };
}
