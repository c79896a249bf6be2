/**
 * An EC2 Instance Connect Endpoint: a WebSocket server that takes signed addresses only, and leads to the instance
 * with that private address. It is as strict as AWS, and can be told to go wrong.
 */
import { randomBytes } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { createServer } from 'node:https';
import { type AddressInfo, connect, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { type WebSocket, WebSocketServer } from 'ws';
import { demoSubnet, demoVpc, type Instance } from '../../src/demo/instance.ts';
import type { Cloud } from './cloud.ts';
import { demoRegion } from './cloud.ts';
import { presignedFault } from './presigned.ts';

/** What AWS takes in one frame, in bytes. */
const frameLimit = 65_000;
/** The ports that an endpoint connects to. */
const allowedPorts = ['22', '3389'];
/** How many tunnels one endpoint has. */
const maxTunnels = 20;

/** What happens to clients. */
export type Reception =
  /** They are connected to the instance. */
  | { readonly kind: 'lead' }
  /** The tunnel is not opened. */
  | { readonly kind: 'refuse'; readonly status: number; readonly body: string }
  /** Nothing is answered. */
  | { readonly kind: 'silent' }
  /** The tunnel is opened, and `act` is called with it. */
  | { readonly kind: 'open'; readonly act: (tunnel: WebSocket) => void };

interface OpenTunnel {
  readonly socket: WebSocket;
  /** The connection under it. */
  readonly wire: Socket;
  readonly query: Readonly<Record<string, string>>;
}

export interface Endpoint {
  readonly id: string;
  /** `127.0.0.1:PORT`: what EC2 says of it. */
  readonly dnsName: string;
  /** The behaviour for the next clients. */
  reception: Reception;
  /** The tunnels that are open, oldest first. */
  readonly tunnels: readonly OpenTunnel[];
  /** How many were asked for so far, and how many were opened. */
  readonly asked: number;
  readonly opened: number;
  /** Errors of clients that AWS would refuse: signatures, queries, frames. */
  readonly faults: readonly string[];
  /** What went to clients so far, in bytes. */
  readonly bytesDown: number;
  /** The largest frame that came, in bytes. */
  readonly largestFrame: number;
  /** Nothing is read from the client any more until the returned function is called. */
  stopReading(): () => void;
  close(): Promise<void>;
}

export interface EndpointOptions {
  readonly cloud: Pick<Cloud, 'instances' | 'endpoints' | 'accessKeys'>;
  /** PEM. */
  readonly tls: { readonly key: string; readonly cert: string };
}

/** Starts it on a free port of loopback, and lets EC2 show it. */
export async function startEndpoint({ cloud, tls }: EndpointOptions): Promise<Endpoint> {
  const id = `eice-${randomBytes(9).toString('hex').slice(1)}`;
  const tunnels: OpenTunnel[] = [];
  const faults: string[] = [];
  const counts = { asked: 0, opened: 0, largest: 0, down: 0 };
  const wires = new Set<Duplex>();
  let held: Promise<void> | undefined;

  const server = createServer(tls);
  const sockets = new WebSocketServer({ noServer: true, perMessageDeflate: false, maxPayload: frameLimit });
  server.on('secureConnection', (wire: Duplex) => {
    wires.add(wire);
    wire.on('close', () => wires.delete(wire)).on('error', () => wire.destroy());
  });
  server.on('upgrade', (request: IncomingMessage, wire: Socket, head: Buffer) => {
    const { reception } = endpoint;
    counts.asked += 1;
    if (reception.kind === 'silent') return;
    const url = new URL(request.url ?? '/', `wss://${endpoint.dnsName}`);
    const fault = reception.kind === 'refuse' ? undefined : wrongWith(request, url);
    if (fault !== undefined) faults.push(fault);
    if (reception.kind === 'refuse') return answer(wire, reception.status, reception.body);
    const port = url.searchParams.get('remotePort') ?? '';
    if (fault === undefined && !allowedPorts.includes(port)) {
      const message = `Invalid remotePort ${port}: the allowed ports are ${allowedPorts.join(' and ')}`;
      return answer(wire, 400, JSON.stringify({ message }));
    }
    if (fault !== undefined) return answer(wire, 403, JSON.stringify({ message: fault }));
    if (tunnels.length >= maxTunnels)
      return answer(wire, 429, JSON.stringify({ message: 'Too many tunnels' }));
    sockets.handleUpgrade(request, wire, head, (socket) => {
      counts.opened += 1;
      const tunnel = { socket, wire, query: Object.fromEntries(url.searchParams) };
      tunnels.push(tunnel);
      socket.on('close', () => tunnels.splice(tunnels.indexOf(tunnel), 1));
      socket.on('error', (error) => faults.push(error.message));
      if (reception.kind === 'open') reception.act(socket);
      else lead(tunnel);
    });
  });

  function wrongWith(request: IncomingMessage, url: URL): string | undefined {
    const { host = '' } = request.headers;
    if (host !== endpoint.dnsName) return `the host is ${host}`;
    if (url.pathname !== '/openTunnel') return `the path is ${url.pathname}`;
    if (request.headers['sec-websocket-protocol'] !== undefined) return 'a subprotocol is asked for';
    const names = [...url.searchParams.keys()].filter((name) => !name.startsWith('X-Amz-')).sort();
    const wanted = ['instanceConnectEndpointId', 'privateIpAddress', 'remotePort'];
    const allowed = names.filter((name) => name !== 'maxTunnelDuration');
    if (allowed.join() !== wanted.join()) return `the query names ${names.join()}`;
    if (url.searchParams.get('instanceConnectEndpointId') !== id) return 'another endpoint is meant';
    const seconds = Number(url.searchParams.get('maxTunnelDuration') ?? 3600);
    if (!(Number.isInteger(seconds) && seconds >= 1 && seconds <= 3600)) return `it is to last ${seconds} s`;
    return presignedFault({ method: request.method ?? '', url, host }, cloud.accessKeys, {
      service: 'ec2-instance-connect',
      longest: 60,
    });
  }

  function lead({ socket, query }: OpenTunnel): void {
    const instance = [...cloud.instances.values()].find((one) => isAt(one, query['privateIpAddress'] ?? ''));
    if (instance === undefined) {
      socket.close(1011, 'There is no such instance in the VPC');
      return;
    }
    const port = instance.endpointPorts?.[query['remotePort'] ?? ''] ?? Number(query['remotePort']);
    const far = connect({ host: instance.address, port, noDelay: true });
    far.on('error', () =>
      socket.close(1011, `Cannot connect to port ${query['remotePort']} of ${instance.id}`),
    );
    far.on('end', () => socket.close(1000));
    far.on('data', (bytes) => {
      counts.down += bytes.length;
      far.pause();
      for (let at = 0; at < bytes.length; at += frameLimit) {
        const isLast = at + frameLimit >= bytes.length;
        socket.send(bytes.subarray(at, at + frameLimit), { binary: true }, () => isLast && far.resume());
      }
    });
    socket.on('message', (data, isBinary) => {
      const bytes = data as Buffer;
      counts.largest = Math.max(counts.largest, bytes.length);
      if (!isBinary) faults.push('a text frame');
      const goesOn = far.write(bytes);
      if (goesOn && held === undefined) return;
      socket.pause();
      Promise.all([held, goesOn || new Promise((resolve) => far.once('drain', resolve))]).then(
        () => socket.resume(),
        () => {},
      );
    });
    socket.on('close', () => far.end());
  }

  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  const dnsName = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const endpoint: Endpoint = {
    id,
    dnsName,
    reception: { kind: 'lead' },
    tunnels,
    get asked() {
      return counts.asked;
    },
    get opened() {
      return counts.opened;
    },
    faults,
    get bytesDown() {
      return counts.down;
    },
    get largestFrame() {
      return counts.largest;
    },
    stopReading() {
      const { promise, resolve } = Promise.withResolvers<void>();
      held = promise;
      return () => {
        held = undefined;
        resolve();
      };
    },
    close() {
      cloud.endpoints.delete(id);
      for (const wire of wires) wire.destroy();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
  cloud.endpoints.set(id, {
    id,
    region: demoRegion,
    dnsName,
    state: 'create-complete',
    vpc: demoVpc,
    subnet: demoSubnet,
    zone: `${demoRegion}a`,
  });
  return endpoint;
}

function isAt({ privateIp, state }: Instance, address: string): boolean {
  return privateIp === address && state === 'running';
}

function answer(wire: Duplex, status: number, body: string): void {
  wire.end(
    `HTTP/1.1 ${status} No\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\n` +
      `Connection: close\r\n\r\n${body}`,
  );
}
