/**
 * AWS inside the process, for the demo and the tests: it speaks the services' own wire formats, on
 * loopback, to the SDK as it is, checks every signature, and authorises a pushed key for exactly 60 s.
 *
 * Each service is a file of its own (`instance-connect.ts`); what they share is here.
 */
import { randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { CallerIdentity, CallerKey, CloudAnswer, CloudRequest, CloudService } from './cloud-service.ts';
import { ec2 } from './ec2.ts';
import type { InstanceConnectEndpoint } from './ec2-endpoints.ts';
import type { Image } from './ec2-images.ts';
import type { KeyPairs } from './ec2-key-pairs.ts';
import { type CloudFaults, type FaultPlan, makeFaults } from './faults.ts';
import { demoAccount, type Instance } from './instance.ts';
import { instanceConnect, type Push } from './instance-connect.ts';
import { makePushedKeys } from './pushed-keys.ts';
import { verifySignature } from './signature.ts';
import { securityTokens } from './sts.ts';
import { type WireFailure, type WireFailureName, wireFailure } from './wire-failure.ts';

export interface CloudOptions {
  /** Where the pushed keys are also kept as files, for a real sshd; see `makePushedKeys`. */
  readonly keysDirectory?: string;
}

/** One request that was answered (or lost), in order of arrival. */
interface RequestRecord {
  readonly operation: string;
  readonly requestId: string;
  readonly accessKeyId: string | undefined;
  readonly failure: WireFailureName | undefined;
  /** Milliseconds since 1970, when it was answered. */
  readonly at: number;
}

export interface Cloud {
  /** `http://127.0.0.1:<port>`, for `AWS_ENDPOINT_URL`. */
  readonly endpoint: string;
  /** By id. Change it at any time: a later request sees it. */
  readonly instances: Map<string, Instance>;
  /** EC2's key pairs, by `keyPairPlace`. */
  readonly keyPairs: KeyPairs;
  /** Machine images, by id. */
  readonly images: Map<string, Image>;
  /** EC2 Instance Connect Endpoints, by id. */
  readonly endpoints: Map<string, InstanceConnectEndpoint>;
  /** By access key id; `demoAccessKey` is there from the start. */
  readonly accessKeys: Map<string, CallerKey>;
  /** How many instances a page of DescribeInstances has at most: few, so that who asks has to follow. */
  pageSize: number;
  /** The pushes that succeeded, oldest first. */
  readonly pushes: readonly Push[];
  /** Everything that was answered, failures too. */
  readonly requests: readonly RequestRecord[];
  readonly faults: CloudFaults;
  /** The key lines that are good for this user of this instance now. */
  authorizedKeys(instance: string, user: string): string[];
  /**
   * An outage: cuts every connection and refuses new ones.
   * @returns a function that ends the outage; the endpoint is then at the same port
   */
  goOffline(): Promise<() => Promise<void>>;
  /** Ends it, with every request that still waits. */
  close(): Promise<void>;
}

export const demoAccessKey = {
  id: 'AKIADEMODEMODEMODEMO',
  secret: 'demo/secret/demo/secret/demo/secret/demo',
};
export const demoRegion = 'us-east-1';

/** The environment that makes the AWS SDK talk to this cloud, and to nothing else. */
export function cloudEnvironment(cloud: Cloud, directory: string): Record<string, string> {
  return {
    AWS_ENDPOINT_URL: cloud.endpoint,
    AWS_ACCESS_KEY_ID: demoAccessKey.id,
    AWS_SECRET_ACCESS_KEY: demoAccessKey.secret,
    AWS_REGION: demoRegion,
    // Neither has to exist; they keep the caller's own files, and the metadata service, out of it.
    AWS_CONFIG_FILE: `${directory}/aws-config`,
    AWS_SHARED_CREDENTIALS_FILE: `${directory}/aws-credentials`,
    AWS_EC2_METADATA_DISABLED: 'true',
  };
}

/** Starts the cloud on a free port of loopback. */
export async function startCloud({ keysDirectory }: CloudOptions = {}): Promise<Cloud> {
  const instances = new Map<string, Instance>();
  const accessKeys = new Map<string, CallerKey>([[demoAccessKey.id, { secret: demoAccessKey.secret }]]);
  const keyPairs: KeyPairs = new Map();
  const images = new Map<string, Image>();
  const endpoints = new Map<string, InstanceConnectEndpoint>();
  const keys = makePushedKeys(keysDirectory);
  const pushes: Push[] = [];
  const requests: RequestRecord[] = [];
  const plan = makeFaults();
  const parts = new Map<string, FaultPlan>();
  const faults: CloudFaults = Object.assign(plan, {
    of(part: string) {
      const known = parts.get(part) ?? makeFaults();
      parts.set(part, known);
      return known;
    },
  });
  const starting = new Set<NodeJS.Timeout>();
  const paging = { size: 5 };
  const services: CloudService[] = [
    instanceConnect(instances, keys, pushes),
    ec2(instances, { paging, starting, keyPairs, images, endpoints }),
    securityTokens(),
  ];

  const server = createServer((message, response) => {
    const realm = { services, accessKeys, faults: plan, partFaults: parts, requests };
    handle(message, response, realm).catch(() => response.destroy());
  });
  const listen = (wanted: number) =>
    new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(wanted, '127.0.0.1', resolve);
    });
  const stopListening = () =>
    new Promise<void>((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  await listen(0);
  const { port } = server.address() as AddressInfo;

  return {
    endpoint: `http://127.0.0.1:${port}`,
    instances,
    keyPairs,
    images,
    endpoints,
    accessKeys,
    get pageSize() {
      return paging.size;
    },
    set pageSize(size) {
      paging.size = size;
    },
    pushes,
    requests,
    faults,
    authorizedKeys: keys.lines,
    async goOffline() {
      await stopListening();
      return () => listen(port);
    },
    close() {
      keys.close();
      for (const timer of starting) clearTimeout(timer);
      return stopListening();
    },
  };
}

interface Realm {
  readonly services: readonly CloudService[];
  readonly accessKeys: ReadonlyMap<string, CallerKey>;
  readonly faults: FaultPlan;
  /** By operation and by service. */
  readonly partFaults: ReadonlyMap<string, FaultPlan>;
  readonly requests: RequestRecord[];
}

/** One request: read, let the faults have their say, find the service, check the signature, answer. */
async function handle(message: IncomingMessage, response: ServerResponse, realm: Realm): Promise<void> {
  const requestId = randomUUID();
  const request = await readRequest(message);
  await realm.faults.admit();

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
  const plans = [service.signingName, operation].flatMap((part) => realm.partFaults.get(part) ?? []);
  for (const plan of plans) await plan.admit();
  const caller = await verifySignature(request, realm.accessKeys, service.signingName);
  const outcome =
    'failure' in caller
      ? caller
      : (refusal(realm, plans, caller.accessKeyId, `${service.signingName}:${operation}`) ??
        service.answer({
          request,
          operation,
          caller: { ...caller, ...identity(realm, caller.accessKeyId) },
          requestId,
        }));

  realm.requests.push({
    operation,
    requestId,
    accessKeyId: 'failure' in caller ? undefined : caller.accessKeyId,
    failure: 'failure' in outcome ? outcome.failure : undefined,
    at: Date.now(),
  });
  if ([...plans, realm.faults].some((plan) => plan.takeLostAnswer())) response.destroy();
  else send(response, requestId, 'failure' in outcome ? service.failure(outcome, requestId) : outcome);
}

function refusal(
  realm: Realm,
  plans: readonly FaultPlan[],
  accessKeyId: string,
  action: string,
): WireFailure | undefined {
  const key = realm.accessKeys.get(accessKeyId);
  if (key?.denied?.includes(action)) {
    const { arn } = identity(realm, accessKeyId);
    return wireFailure(
      'AccessDeniedException',
      `You are not authorized to perform this operation. User: ${arn} is not authorized to perform: ${action} ` +
        'because no identity-based policy allows the action.',
    );
  }
  const name =
    key?.refusal ??
    [...plans, realm.faults].map((plan) => plan.takeFailure()).find((failure) => failure !== undefined);
  return (
    name &&
    wireFailure(name, name === 'ThrottlingException' ? 'Rate exceeded' : 'The stand-in was told to fail.')
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
    // What is too long is read to its end all the same, so that the client gets to read the answer.
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
