/** What is between us and AWS: names, ports, silence, proxies, certificates. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer as createHttpServer, request as httpRequest } from 'node:http';
import { type AddressInfo, connect, createServer, type Server } from 'node:net';
import { type TestContext, test } from 'node:test';
import { createServer as createTlsServer } from 'node:tls';
import { fileURLToPath } from 'node:url';
import { failureOf, request, setUp, writeHome } from './setup.ts';

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

/** A port of loopback that nobody listens on. */
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

test('an endpoint that never answers is given up in time, and named', async (t) => {
  const { cloud, workers, environment } = await setUp(t);
  await workers.push({ environment: environment() }, request);
  cloud.faults.hang();
  const started = performance.now();
  const error = await failureOf(workers, environment());
  assert.ok(performance.now() - started < 10_500, `${performance.now() - started} ms`);
  assert.equal(error.code, 'aws-unreachable');
  assert.ok(error.message.includes(new URL(cloud.endpoint).host), error.message);
});

test('one connection that went silent costs a retry and not the push', async (t) => {
  const { cloud, workers, environment } = await setUp(t);
  await workers.push({ environment: environment() }, request);
  cloud.faults.hang();
  const pushed = workers.push({ environment: environment() }, request);
  while (cloud.faults.waiting === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  cloud.faults.hang(false);
  await pushed;
});

test('an endpoint that refuses connections is named with its port', async (t) => {
  const { workers, environment } = await setUp(t);
  const port = await closedPort();
  const error = await failureOf(workers, environment({ AWS_ENDPOINT_URL: `http://127.0.0.1:${port}` }));
  assert.equal(error.code, 'aws-unreachable');
  assert.equal(error.message, `127.0.0.1:${port} cannot be reached: the connection was refused`);
  assert.match(error.hint ?? '', /curl -v http:\/\/127\.0\.0\.1/);
});

test('an endpoint whose name does not resolve is named', async (t) => {
  const { workers, environment } = await setUp(t);
  const environmentOf = environment({ AWS_ENDPOINT_URL_EC2_INSTANCE_CONNECT: 'http://nowhere.invalid' });
  const error = await failureOf(workers, environmentOf);
  assert.equal(error.code, 'aws-unreachable');
  assert.match(error.message, /^nowhere\.invalid cannot be reached: .*resolve/);
});

test('an endpoint that cuts every connection is unreachable', async (t) => {
  const { workers, environment } = await setUp(t);
  const port = await listen(
    t,
    createServer((socket) => socket.destroy()),
  );
  const error = await failureOf(workers, environment({ AWS_ENDPOINT_URL: `http://127.0.0.1:${port}` }));
  assert.equal(error.code, 'aws-unreachable');
});

test('a sign-in page that answers in place of AWS is told apart', async (t) => {
  const { workers, environment } = await setUp(t);
  const page = createHttpServer((_, response) => {
    response.setHeader('content-type', 'text/html');
    response.end('<html>please sign in</html>');
  });
  const port = await listen(t, page);
  const error = await failureOf(workers, environment({ AWS_ENDPOINT_URL: `http://127.0.0.1:${port}` }));
  assert.equal(error.code, 'aws-unreachable');
  assert.match(error.message, /answered, but not as AWS does/);
});

test('the SSO portal that cannot be reached is unreachable too, and not an expired session', async (t) => {
  const { workers, home, homeEnvironment } = await setUp(t);
  const where = home({
    '.aws/config':
      '[profile work]\nsso_start_url = https://corp.awsapps.com/start\nsso_region = us-east-1\nsso_account_id = 1\nsso_role_name = dev\n',
  });
  const portal = `http://127.0.0.1:${await closedPort()}`;
  const name = createHash('sha1').update('https://corp.awsapps.com/start').digest('hex');
  const expiresAt = new Date(Date.now() + 3_600_000).toISOString();
  writeHome(where, `.aws/sso/cache/${name}.json`, JSON.stringify({ accessToken: 'token', expiresAt }));
  const error = await failureOf(workers, homeEnvironment(where, { AWS_ENDPOINT_URL_SSO: portal }), {
    profile: 'work',
  });
  assert.equal(error.code, 'aws-unreachable');
  assert.ok(error.message.includes(new URL(portal).host), error.message);
});

test('AWS_CA_BUNDLE and NODE_EXTRA_CA_CERTS are trusted for their own caller only', async (t) => {
  const { cloud, workers, environment } = await setUp(t);
  const endpoint = `https://127.0.0.1:${await listenTls(t, cloud.endpoint)}`;
  const untrusted = await failureOf(workers, environment({ AWS_ENDPOINT_URL: endpoint }));
  assert.equal(untrusted.code, 'aws-unreachable');
  assert.match(untrusted.hint ?? '', /AWS_CA_BUNDLE/);
  for (const name of ['AWS_CA_BUNDLE', 'NODE_EXTRA_CA_CERTS']) {
    await workers.push(
      { environment: environment({ AWS_ENDPOINT_URL: endpoint, [name]: certificate }) },
      request,
    );
  }
  assert.equal(cloud.pushes.length, 2);
  const missing = await failureOf(workers, environment({ AWS_CA_BUNDLE: '/nowhere.pem' }));
  assert.equal(missing.code, 'bad-settings');
});

test("HTTP_PROXY and HTTPS_PROXY are used, NO_PROXY is left alone, and a proxy's password is not shown", async (t) => {
  const { cloud, workers, environment } = await setUp(t);
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

  await workers.push({ environment: environment({ HTTP_PROXY: address }) }, request);
  assert.equal(seen.at(-1), `POST ${cloud.endpoint}/`);
  const tls = { AWS_ENDPOINT_URL: `https://127.0.0.1:${secure}`, AWS_CA_BUNDLE: certificate };
  await workers.push(
    { environment: environment({ ...tls, https_proxy: address.slice('http://'.length) }) },
    request,
  );
  assert.equal(seen.at(-1), `CONNECT 127.0.0.1:${secure}`);
  assert.equal(cloud.pushes.length, 2);

  const before = seen.length;
  await workers.push(
    { environment: environment({ ...tls, HTTPS_PROXY: address, NO_PROXY: '127.0.0.1' }) },
    request,
  );
  assert.equal(seen.length, before);

  const elsewhere = { AWS_ENDPOINT_URL: 'https://aws.invalid', HTTPS_PROXY: address };
  const refused = await failureOf(workers, environment(elsewhere));
  assert.equal(refused.code, 'aws-unreachable');
  assert.match(refused.message, /^aws\.invalid cannot be reached: the proxy did not let/);
  assert.doesNotMatch(`${refused.message} ${refused.hint}`, /geheim99/);

  const bad = await failureOf(workers, environment({ HTTPS_PROXY: 'http://anna:geheim99@no such host' }));
  assert.equal(bad.code, 'bad-settings');
  assert.doesNotMatch(`${bad.message} ${bad.hint}`, /geheim99/);
});
