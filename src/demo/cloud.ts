/**
 * A stand-in for AWS inside the process, for the demo and the tests. It speaks the services' wire formats to the
 * unmodified SDK, on loopback, checks every signature, and authorizes a pushed key for 60 s.
 *
 * It implements EC2 Instance Connect and the part of EC2 that the demo uses. The tests' cloud (test/cloud) adds services
 * and faults.
 */
import { randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type {
  CallerIdentity,
  CallerKey,
  CloudAnswer,
  CloudRequest,
  CloudService,
  Interceptor,
} from './cloud-service.ts';
import { ec2 } from './ec2.ts';
import { demoAccount, type Instance } from './instance.ts';
import { instanceConnect, type Push } from './instance-connect.ts';
import { makePushedKeys } from './pushed-keys.ts';
import { verifySignature } from './signature.ts';
import { type WireFailure, wireFailure } from './wire-failure.ts';

export interface CloudOptions {
  /** A directory for files with the pushed keys, for a real sshd; see `makePushedKeys`. */
  readonly keysDirectory?: string;
  /** The services beside Instance Connect; default: the demo's EC2. */
  readonly services?: (instances: Map<string, Instance>) => readonly CloudService[];
  readonly interceptor?: Interceptor;
}

export interface Cloud {
  /** `http://127.0.0.1:<port>`, for `AWS_ENDPOINT_URL`. */
  readonly endpoint: string;
  /** By instance ID. Changes apply to later requests. */
  readonly instances: Map<string, Instance>;
  /** By access key ID. `demoAccessKey` is in it from the start. */
  readonly accessKeys: Map<string, CallerKey>;
  /** The pushes that succeeded, oldest first. */
  readonly pushes: readonly Push[];
  readonly server: Server;
  /** The key lines that are valid for this user of this instance now. */
  authorizedKeys(instance: string, user: string): string[];
  /** Moves the time of the pushed keys ahead, as if so many milliseconds had gone by. */
  passTime(milliseconds: number): void;
  /** Stops the cloud, and ends every waiting request. */
  close(): Promise<void>;
}

export const demoAccessKey = {
  id: 'AKIADEMODEMODEMODEMO',
  secret: 'demo/secret/demo/secret/demo/secret/demo',
};
export const demoRegion = 'us-east-1';

/** @returns the environment with which the AWS SDK uses only this cloud */
export function cloudEnvironment(cloud: Pick<Cloud, 'endpoint'>, directory: string): Record<string, string> {
  return {
    AWS_ENDPOINT_URL: cloud.endpoint,
    AWS_ACCESS_KEY_ID: demoAccessKey.id,
    AWS_SECRET_ACCESS_KEY: demoAccessKey.secret,
    AWS_REGION: demoRegion,
    // These files need not exist. They keep the SDK from the user's own files and the metadata service.
    AWS_CONFIG_FILE: `${directory}/aws-config`,
    AWS_SHARED_CREDENTIALS_FILE: `${directory}/aws-credentials`,
    AWS_EC2_METADATA_DISABLED: 'true',
  };
}

/** Starts the cloud on a free port of 127.0.0.1. */
export async function startCloud(options: CloudOptions = {}): Promise<Cloud> {
  const instances = new Map<string, Instance>();
  const accessKeys = new Map<string, CallerKey>([[demoAccessKey.id, { secret: demoAccessKey.secret }]]);
  const keys = makePushedKeys(options.keysDirectory);
  const pushes: Push[] = [];
  const others = options.services?.(instances) ?? [ec2(instances)];
  const services = [instanceConnect(instances, keys, pushes), ...others];

  const server = createServer((message, response) => {
    const realm = { services, accessKeys, interceptor: options.interceptor };
    handle(message, response, realm).catch(() => response.destroy());
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;

  return {
    endpoint: `http://127.0.0.1:${port}`,
    instances,
    accessKeys,
    pushes,
    server,
    authorizedKeys: keys.lines,
    passTime: keys.pass,
    close() {
      keys.close();
      return new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      });
    },
  };
}

interface Realm {
  readonly services: readonly CloudService[];
  readonly accessKeys: ReadonlyMap<string, CallerKey>;
  readonly interceptor: Interceptor | undefined;
}

/** One request: read it, find the service, check the signature, answer. */
async function handle(message: IncomingMessage, response: ServerResponse, realm: Realm): Promise<void> {
  const { interceptor } = realm;
  const requestId = randomUUID();
  const request = await readRequest(message);
  await interceptor?.admit();

  const service = request && realm.services.find((each) => each.operation(request) !== undefined);
  if (request === undefined || service === undefined) {
    const failure = request === undefined ? 'RequestEntityTooLarge' : 'UnknownOperationException';
    send(response, requestId, {
      status: wireFailure(failure, '').status,
      contentType: 'text/plain',
      body: failure,
    });
    return;
  }
  const operation = service.operation(request) ?? '';
  const parts = [service.signingName, operation];
  await interceptor?.admitTo(parts);
  const caller = await verifySignature(request, realm.accessKeys, service.signingName);
  const outcome =
    'failure' in caller
      ? caller
      : (refusal(realm, caller.accessKeyId, parts) ??
        service.answer({
          request,
          operation,
          caller: { ...caller, ...identity(realm, caller.accessKeyId) },
          requestId,
        }));

  interceptor?.answered({
    operation,
    requestId,
    accessKeyId: 'failure' in caller ? undefined : caller.accessKeyId,
    failure: 'failure' in outcome ? outcome.failure : undefined,
    at: Date.now(),
  });
  if (interceptor?.takeLostAnswer(parts)) response.destroy();
  else send(response, requestId, 'failure' in outcome ? service.failure(outcome, requestId) : outcome);
}

function refusal(realm: Realm, accessKeyId: string, parts: readonly string[]): WireFailure | undefined {
  const key = realm.accessKeys.get(accessKeyId);
  const action = parts.join(':');
  if (key?.denied?.includes(action)) {
    const { arn } = identity(realm, accessKeyId);
    return wireFailure(
      'AccessDeniedException',
      `You are not authorized to perform this operation. User: ${arn} is not authorized to perform: ${action} ` +
        'because no identity-based policy allows the action.',
    );
  }
  const name = key?.refusal ?? realm.interceptor?.takeFailure(parts);
  return (
    name &&
    wireFailure(name, name === 'ThrottlingException' ? 'Rate exceeded' : 'The stand-in was set to fail.')
  );
}

function identity({ accessKeys }: Realm, accessKeyId: string): CallerIdentity {
  const { arn, account } = accessKeys.get(accessKeyId) ?? {};
  const number = account ?? /^arn:[\w-]+:\w+::(\d+):/.exec(arn ?? '')?.[1] ?? demoAccount;
  return { account: number, arn: arn ?? `arn:aws:iam::${number}:user/${accessKeyId.toLowerCase()}` };
}

const bodyLimit = 64 * 1024;

async function readRequest(message: IncomingMessage): Promise<CloudRequest | undefined> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of message as AsyncIterable<Buffer>) {
    length += chunk.length;
    // A request that is too long is still read to its end, so that the client reads the answer.
    if (length <= bodyLimit) chunks.push(chunk);
  }
  if (length > bodyLimit) return undefined;
  const url = new URL(message.url ?? '/', 'http://stand-in');
  const query: Record<string, string | string[]> = {};
  for (const name of url.searchParams.keys()) query[name] = url.searchParams.getAll(name);
  const { method = '', headers } = message;
  return { method, path: url.pathname, query, headers, body: Buffer.concat(chunks) };
}

function send(
  response: ServerResponse,
  requestId: string,
  answer: CloudAnswer & { readonly errorType?: string | undefined },
): void {
  response.writeHead(answer.status, {
    'content-type': answer.contentType,
    'content-length': Buffer.byteLength(answer.body),
    'x-amzn-requestid': requestId,
    ...(answer.errorType === undefined ? {} : { 'x-amzn-errortype': answer.errorType }),
  });
  response.end(answer.body);
}
