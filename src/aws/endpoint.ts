/** EC2 Instance Connect Endpoints: which of them leads to a VM, and the signed address of a tunnel through it. */

import { SignatureV4 } from '@smithy/signature-v4';
import { command, ec2Id, idOr } from '../cli/shell-command.ts';
import { MintError } from '../errors.ts';
import { clientOf } from './ec2.ts';
import type { Ec2InstanceConnectEndpoint } from './ec2-sdk.ts';
import type { TunnelReply, TunnelRequest } from './protocol.ts';
import { type Call, rememberEndpoint, type Session } from './session.ts';

const operation = 'ec2:DescribeInstanceConnectEndpoints';
/** What AWS grants at most, in seconds; a policy may ask for the number to be named. */
const tunnelSeconds = 3600;
/** How long the address is good, in seconds. */
const signatureSeconds = 60;
/** How long an endpoint that was found is used without asking again, in milliseconds. */
const knownTime = 60_000;

/** An endpoint that is being changed goes on as it was: see the states in EC2's API reference. */
const working = new Set(['create-complete', 'update-in-progress', 'update-complete', 'update-failed']);
const hostForm = /^[a-zA-Z0-9-]{1,63}(?:\.[a-zA-Z0-9-]{1,63}){0,20}(?::\d{1,5})?$/;
const idForm = /^eice-[0-9a-f]{1,40}$/;

interface Known {
  readonly endpoint: Ec2InstanceConnectEndpoint;
  readonly at: number;
}

const known = new WeakMap<Call['warm'], Map<string, Known>>();

/**
 * The address that opens a tunnel to the VM's port, signed with the caller's credentials: whoever has it can open
 * that tunnel for a minute. @throws MintError, in `milliseconds` at the latest
 */
export async function tunnel(
  session: Session,
  request: TunnelRequest,
  milliseconds: number,
): Promise<TunnelReply> {
  return await session.call(operation, request, milliseconds, async (call) => {
    const client = await clientOf(call);
    const endpoint = await find(call, request);
    const id = endpoint.InstanceConnectEndpointId ?? '';
    const isFips = await client.config.useFipsEndpoint();
    const name = (isFips ? endpoint.FipsDnsName : endpoint.DnsName) ?? '';
    if (!hostForm.test(name) || !idForm.test(id)) throw nameless(id, isFips);
    const signingDate = new Date(Date.now() + client.config.systemClockOffset);
    const url = await sign(call, name, signingDate, {
      instanceConnectEndpointId: id,
      remotePort: String(request.port),
      privateIpAddress: request.address,
      maxTunnelDuration: String(tunnelSeconds),
    });
    return { endpoint: id, url, seconds: tunnelSeconds };
  });
}

/** In the VM's subnet, else in its zone, where data that crosses costs nothing; else any in its VPC. */
async function find(call: Call, request: TunnelRequest): Promise<Ec2InstanceConnectEndpoint> {
  const { vpc, subnet, zone } = request;
  const byVpc = known.get(call.warm) ?? new Map<string, Known>();
  known.set(call.warm, byVpc);
  const place = [vpc, subnet, zone].join(' ');
  const remembered = byVpc.get(place);
  if (remembered !== undefined && Math.abs(Date.now() - remembered.at) < knownTime)
    return remembered.endpoint;
  const all = await describe(call, vpc);
  const usable = all.filter(({ State }) => working.has(State ?? ''));
  const endpoint =
    usable.find(({ SubnetId }) => SubnetId === subnet) ??
    usable.find(({ AvailabilityZone }) => AvailabilityZone === zone) ??
    usable[0];
  if (endpoint === undefined) throw none(request, all, call.attempt.region);
  byVpc.set(place, { endpoint, at: Date.now() });
  return endpoint;
}

async function describe(call: Call, vpc: string): Promise<Ec2InstanceConnectEndpoint[]> {
  const { DescribeInstanceConnectEndpointsCommand } = await import('./ec2-sdk.ts');
  const client = await clientOf(call);
  const found: Ec2InstanceConnectEndpoint[] = [];
  let token: string | undefined;
  do {
    call.signal.throwIfAborted();
    const command = new DescribeInstanceConnectEndpointsCommand({
      Filters: [{ Name: 'vpc-id', Values: [vpc] }],
      NextToken: token,
    });
    command.middlewareStack.add(...rememberEndpoint(call.attempt));
    const answer = await client.send(command, { abortSignal: call.signal });
    found.push(...(answer.InstanceConnectEndpoints ?? []));
    token = answer.NextToken || undefined;
  } while (token !== undefined);
  return found;
}

/**
 * Signature Version 4 in the query, as AWS's own CLI opens a tunnel.
 *
 * @param signingDate by AWS's clock, as its answer showed it: this machine's may be off
 */
async function sign(
  call: Call,
  host: string,
  signingDate: Date,
  query: Record<string, string>,
): Promise<string> {
  const { region, credentials, sha256 } = call.warm.client.config;
  const signer = new SignatureV4({ service: 'ec2-instance-connect', region, credentials, sha256 });
  const [hostname = '', port] = host.split(':');
  const signed = await signer.presign(
    {
      method: 'GET',
      protocol: 'wss:',
      hostname,
      ...(port === undefined ? {} : { port: Number(port) }),
      path: '/openTunnel',
      query,
      headers: { host },
    },
    { expiresIn: signatureSeconds, signingDate },
  );
  const fields = Object.entries(signed.query ?? {}).map(
    ([name, value]) => `${escaped(name)}=${escaped(String(value))}`,
  );
  return `wss://${host}/openTunnel?${fields.join('&')}`;
}

/** As the signature has it: everything but the unreserved characters of RFC 3986 §2.3. */
function escaped(text: string): string {
  return encodeURIComponent(text).replace(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

function none(
  { vpc, subnet }: TunnelRequest,
  others: readonly Ec2InstanceConnectEndpoint[],
  region: string | undefined,
): MintError {
  const unfinished = others.find(({ State }) => State === 'create-in-progress');
  if (unfinished !== undefined) {
    return new MintError('dial-failed', `the EC2 Instance Connect Endpoint of ${vpc} is still being made`, {
      hint: 'that takes some minutes: connect again then',
    });
  }
  return new MintError('dial-failed', `${vpc} has no EC2 Instance Connect Endpoint`, {
    hint:
      command`make one, which takes some minutes: aws ec2 create-instance-connect-endpoint --subnet-id ${idOr(subnet, ec2Id, 'SUBNET')}` +
      `${region === undefined ? '' : command` --region ${region}`}; or set route in ssh.toml`,
  });
}

function nameless(id: string, isFips: boolean): MintError {
  const kind = isFips ? 'FIPS host name' : 'host name';
  return new MintError(
    'dial-failed',
    `the EC2 Instance Connect Endpoint ${id} has no ${kind} that can be used`,
    {
      hint: 'see what AWS shows of it: aws ec2 describe-instance-connect-endpoints',
    },
  );
}
