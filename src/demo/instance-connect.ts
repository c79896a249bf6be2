/**
 * The only operation of EC2 Instance Connect, in AWS JSON 1.1.
 * https://docs.aws.amazon.com/ec2-instance-connect/latest/APIReference/API_SendSSHPublicKey.html
 */
import type { CloudAnswer, CloudCall, CloudService } from './cloud-service.ts';
import type { Instance } from './instance.ts';
import type { PushedKeys } from './pushed-keys.ts';
import { type WireFailure, wireFailure } from './wire-failure.ts';

/** A push that succeeded. */
export interface Push {
  readonly instance: string;
  readonly user: string;
  /** The line as it was sent. */
  readonly key: string;
  readonly accessKeyId: string;
  readonly region: string;
  readonly requestId: string;
  /** Milliseconds since 1970. */
  readonly at: number;
}

const contentType = 'application/x-amz-json-1.1';
const target = 'AWSEC2InstanceConnectService.';

/** The limits of AWS's model: length and pattern of each member. */
const members = {
  InstanceId: { form: /^i-(?:[a-f0-9]{8}|[a-f0-9]{17})$/, least: 10, most: 32 },
  InstanceOSUser: { form: /^[A-Za-z_][A-Za-z0-9@._-]{0,30}[A-Za-z0-9$_-]?$/, least: 1, most: 32 },
  SSHPublicKey: { form: /^[^\r\n\0]+\r?\n?$/, least: 80, most: 4096 },
  AvailabilityZone: { form: /^(?:\w+-){2,3}\d+\w+$/, least: 6, most: 32 },
} as const;

/**
 * EC2 Instance Connect's API, in AWS JSON 1.1.
 * @param keys where pushed keys are kept until they expire
 * @param pushes gets an entry for each accepted push
 */
export function instanceConnect(
  instances: ReadonlyMap<string, Instance>,
  keys: PushedKeys,
  pushes: Push[],
): CloudService {
  return {
    signingName: 'ec2-instance-connect',
    operation(request) {
      const header = request.headers['x-amz-target'];
      return typeof header === 'string' && header.startsWith(target)
        ? header.slice(target.length)
        : undefined;
    },
    answer(call) {
      if (call.operation !== 'SendSSHPublicKey') return wireFailure('UnknownOperationException', '');
      const wanted = parse(call);
      if ('failure' in wanted) return wanted;
      const failure = judge(wanted, instances.get(wanted.instance), call.caller.region);
      if (failure !== undefined) return failure;
      const { instance, user, key } = wanted;
      keys.authorise(instance, user, key.trim());
      pushes.push({ instance, user, key, ...call.caller, requestId: call.requestId, at: Date.now() });
      return json(200, { RequestId: call.requestId, Success: true });
    },
    failure({ failure, status, message }) {
      return { ...json(status, { __type: failure, Message: message }), errorType: failure };
    },
  };
}

interface WantedPush {
  readonly instance: string;
  readonly user: string;
  readonly key: string;
  readonly zone: string | undefined;
}

function parse({ request }: CloudCall): WantedPush | WireFailure {
  if (request.headers['content-type'] !== contentType) {
    return wireFailure('SerializationException', `Content-Type must be ${contentType}`);
  }
  let input: Record<string, unknown>;
  try {
    input = Object(JSON.parse(request.body.toString('utf8')));
  } catch {
    return wireFailure('SerializationException', 'the body is not JSON');
  }
  for (const [name, { form, least, most }] of Object.entries(members)) {
    const value = input[name];
    if (value === undefined && name === 'AvailabilityZone') continue;
    if (typeof value !== 'string' || value.length < least || value.length > most || !form.test(value)) {
      return wireFailure('InvalidArgsException', `Value at '${name}' failed to satisfy constraint`);
    }
  }
  return {
    instance: String(input['InstanceId']),
    user: String(input['InstanceOSUser']),
    key: String(input['SSHPublicKey']),
    zone: input['AvailabilityZone'] as string | undefined,
  };
}

function judge(
  { instance: id, key, zone }: WantedPush,
  instance: Instance | undefined,
  region: string,
): WireFailure | undefined {
  if (!isPublicKeyLine(key.trim())) {
    return wireFailure(
      'InvalidArgsException',
      'The SSH public key is invalid; RSA and ED25519 keys are supported.',
    );
  }
  if (instance === undefined || instance.region !== region || instance.state === 'terminated') {
    return wireFailure('EC2InstanceNotFoundException', `The specified instance ${id} could not be found.`);
  }
  if (zone !== undefined && !zone.startsWith(region)) {
    return wireFailure('InvalidArgsException', `The instance is not in ${zone}.`);
  }
  if (instance.state !== 'running') {
    return wireFailure(
      'EC2InstanceStateInvalidException',
      `The instance is ${instance.state}, it must be running.`,
    );
  }
  return undefined;
}

function json(status: number, body: object): CloudAnswer {
  return { status, contentType, body: JSON.stringify(body) };
}

/**
 * The inner structure of the key blob (RFC 4253 §6.6, RFC 8709 §4) is checked too.
 *
 * @returns whether EC2 Instance Connect accepts the line: an RSA or Ed25519 public key on one line without options
 */
export function isPublicKeyLine(line: string): boolean {
  const [, type, base64] = /^(ssh-ed25519|ssh-rsa) ([A-Za-z0-9+/]+={0,2})(?: [^\r\n\0]*)?$/.exec(line) ?? [];
  if (type === undefined || base64 === undefined) return false;
  const blob = Buffer.from(base64, 'base64');
  if (blob.toString('base64') !== base64) return false;
  const fields = readStrings(blob);
  if (fields?.[0]?.toString() !== type) return false;
  if (type === 'ssh-ed25519') return fields.length === 2 && fields[1]?.length === 32;
  return fields.length === 3 && (fields[2]?.length ?? 0) >= 256;
}

/** @returns the SSH strings of the blob; undefined if they do not fill it exactly */
function readStrings(blob: Buffer): Buffer[] | undefined {
  const strings: Buffer[] = [];
  for (let at = 0; at < blob.length; ) {
    if (at + 4 > blob.length) return undefined;
    const end = at + 4 + blob.readUInt32BE(at);
    if (end > blob.length) return undefined;
    strings.push(blob.subarray(at + 4, end));
    at = end;
  }
  return strings;
}
