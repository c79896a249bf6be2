/** Network problems on the way to AWS: names, ports, silence, proxies, certificates. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createServer as createHttpServer, request as httpRequest } from 'node:http';
import { type AddressInfo, connect, createServer, type Server } from 'node:net';
import { type TestContext, test } from 'node:test';
import { createServer as createTlsServer } from 'node:tls';
import { fileURLToPath } from 'node:url';
import { failureOf, request, setUp } from './setup.ts';

const certificate = fileURLToPath(new URL('./tls/certificate.pem', import.meta.url));
const key = fileURLToPath(new URL('./tls/key.pem', import.meta.url));

async function listen(t: TestContext, server: Server): Promise<number> {
  const sockets = new Set<{ destroy(): void }>();
  for (const event of ['connection', 'secureConnection']) {
    server.on(event, (socket: { destroy(): void; on(event: 'error', listener: () => void): void }) => {
      sockets.add(socket);
      socket.on('error', () => undefined);
    });
  }
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

/** A closed port on loopback. */
async function closedPort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** TLS in front of the cloud, with a certificate that no one trusts by default. */
async function listenTls(t: TestContext, endpoint: string): Promise<number> {
  const port = Number(new URL(endpoint).port);
  const server = createTlsServer({ cert: readFileSync(certificate), key: readFileSync(key) }, (socket) => {
    const inner = connect(port, '127.0.0.1');
    inner.on('error', () => socket.destroy());
    socket.pipe(inner).pipe(socket);
  });
  return await listen(t, server);
}

test('times out for an endpoint that never answers, and names it', async (t) => {
  const { cloud, aws, environment } = await setUp(t);
  await aws.push({ environment: environment() }, request);
  cloud.faults.hang();
  const started = performance.now();
  const error = await failureOf(aws, environment());
  assert.ok(performance.now() - started < 60_000, `${performance.now() - started} ms`);
  assert.equal(error.code, 'aws-unreachable');
  assert.ok(error.message.includes(new URL(cloud.endpoint).host), error.message);
});

test('retries a push on a connection that went silent', async (t) => {
  const { cloud, aws, environment } = await setUp(t);
  await aws.push({ environment: environment() }, request);
  cloud.faults.hang();
  const pushed = aws.push({ environment: environment() }, request);
  while (cloud.faults.waiting === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  cloud.faults.hang(false);
  await pushed;
});

test('an endpoint that refuses connections is named with its port', async (t) => {
  const { aws, environment } = await setUp(t);
  const port = await closedPort();
  const error = await failureOf(aws, environment({ AWS_ENDPOINT_URL: `http://127.0.0.1:${port}` }));
  assert.equal(error.code, 'aws-unreachable');
  assert.equal(error.message, `127.0.0.1:${port} cannot be reached: the connection was refused`);
  assert.match(error.hint ?? '', /curl -v http:\/\/127\.0\.0\.1/);
});

test('an endpoint whose name does not resolve is named', async (t) => {
  const { aws, environment } = await setUp(t);
  const environmentOf = environment({ AWS_ENDPOINT_URL_EC2_INSTANCE_CONNECT: 'http://nowhere.invalid' });
  const error = await failureOf(aws, environmentOf);
  assert.equal(error.code, 'aws-unreachable');
  assert.match(error.message, /^nowhere\.invalid cannot be reached: .*resolve/);
});

test('an endpoint that cuts every connection is unreachable', async (t) => {
  const { aws, environment } = await setUp(t);
  const port = await listen(
    t,
    createServer((socket) => socket.destroy()),
  );
  const error = await failureOf(aws, environment({ AWS_ENDPOINT_URL: `http://127.0.0.1:${port}` }));
  assert.equal(error.code, 'aws-unreachable');
});

test('recognizes a sign-in page that answers instead of AWS', async (t) => {
  const { aws, environment } = await setUp(t);
  const page = createHttpServer((_, response) => {
    response.setHeader('content-type', 'text/html');
    response.end('<html>please sign in</html>');
  });
  const port = await listen(t, page);
  const error = await failureOf(aws, environment({ AWS_ENDPOINT_URL: `http://127.0.0.1:${port}` }));
  assert.equal(error.code, 'aws-unreachable');
  assert.match(error.message, /answered, but not as AWS does/);
});

test('AWS_CA_BUNDLE, NODE_EXTRA_CA_CERTS and ca_bundle of the profile are trusted for their own caller only', async (t) => {
  const { cloud, aws, home, environment } = await setUp(t);
  const endpoint = `https://127.0.0.1:${await listenTls(t, cloud.endpoint)}`;
  const untrusted = await failureOf(aws, environment({ AWS_ENDPOINT_URL: endpoint }));
  assert.equal(untrusted.code, 'aws-unreachable');
  assert.match(untrusted.hint ?? '', /AWS_CA_BUNDLE/);
  for (const name of ['AWS_CA_BUNDLE', 'NODE_EXTRA_CA_CERTS']) {
    await aws.push(
      { environment: environment({ AWS_ENDPOINT_URL: endpoint, [name]: certificate }) },
      request,
    );
  }
  const { AWS_REGION = '', ...base } = environment({ AWS_ENDPOINT_URL: endpoint });
  const where = home({
    '.aws/config': `[profile work]\nregion = ${AWS_REGION}\nca_bundle = ${certificate}\n`,
  });
  await aws.push({ environment: { ...base, HOME: where, AWS_PROFILE: 'work' } }, request);
  assert.equal(cloud.pushes.length, 3);
  const missing = await failureOf(aws, environment({ AWS_CA_BUNDLE: '/nowhere.pem' }));
  assert.equal(missing.code, 'bad-settings');
});

test("uses HTTP_PROXY and HTTPS_PROXY, respects NO_PROXY, and does not show a proxy's password", async (t) => {
  const { cloud, aws, environment } = await setUp(t);
  const secure = await listenTls(t, cloud.endpoint);
  const seen: string[] = [];
  const proxy = createHttpServer((message, response) => {
    seen.push(`${message.method} ${message.url}`);
    const onward = httpRequest(
      message.url ?? '',
      { method: message.method, headers: message.headers },
      (answer) => {
        response.writeHead(answer.statusCode ?? 502, answer.headers);
        answer.pipe(response);
      },
    );
    message.pipe(onward);
  });
  proxy.on('connect', (message, socket) => {
    seen.push(`CONNECT ${message.url}`);
    if (!message.url?.endsWith(`:${secure}`)) {
      socket.end('HTTP/1.1 403 Forbidden\r\n\r\n');
      return;
    }
    const onward = connect(secure, '127.0.0.1', () => socket.write('HTTP/1.1 200 OK\r\n\r\n'));
    onward.on('error', () => socket.destroy());
    socket.pipe(onward).pipe(socket);
  });
  const address = `http://anna:geheim99@127.0.0.1:${await listen(t, proxy)}`;

  await aws.push({ environment: environment({ HTTP_PROXY: address }) }, request);
  assert.equal(seen.at(-1), `POST ${cloud.endpoint}/`);
  const tls = { AWS_ENDPOINT_URL: `https://127.0.0.1:${secure}`, AWS_CA_BUNDLE: certificate };
  await aws.push(
    { environment: environment({ ...tls, https_proxy: address.slice('http://'.length) }) },
    request,
  );
  assert.equal(seen.at(-1), `CONNECT 127.0.0.1:${secure}`);
  assert.equal(cloud.pushes.length, 2);

  const before = seen.length;
  await aws.push(
    { environment: environment({ ...tls, HTTPS_PROXY: address, NO_PROXY: '127.0.0.1' }) },
    request,
  );
  assert.equal(seen.length, before);

  const elsewhere = { AWS_ENDPOINT_URL: 'https://aws.invalid', HTTPS_PROXY: address };
  const refused = await failureOf(aws, environment(elsewhere));
  assert.equal(refused.code, 'aws-unreachable');
  assert.match(refused.message, /^aws\.invalid cannot be reached: the proxy refused the connection/);
  assert.doesNotMatch(`${refused.message} ${refused.hint}`, /geheim99/);

  const bad = await failureOf(aws, environment({ HTTPS_PROXY: 'http://anna:geheim99@no such host' }));
  assert.equal(bad.code, 'bad-settings');
  assert.doesNotMatch(`${bad.message} ${bad.hint}`, /geheim99/);
});

test('refuses a SOCKS proxy instead of bypassing it silently', async (t) => {
  const { cloud, aws, environment } = await setUp(t);
  for (const name of ['HTTPS_PROXY', 'https_proxy', 'ALL_PROXY']) {
    const error = await failureOf(aws, environment({ [name]: 'socks5h://anna:geheim99@127.0.0.1:1' }));
    assert.equal(error.code, 'bad-settings');
    assert.match(error.message, /_PROXY names a SOCKS proxy, which is not supported/);
    assert.doesNotMatch(`${error.message} ${error.hint}`, /geheim99/);
  }
  const direct = environment({ ALL_PROXY: 'socks5://127.0.0.1:1', NO_PROXY: 'localhost,.amazonaws.com' });
  await aws.push({ environment: direct }, request);
  assert.equal(cloud.pushes.length, 1);
});
