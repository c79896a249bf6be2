/** EC2 Instance Connect Endpoints: which of them reaches a VM, and the signed URL of a tunnel through it. */

import type { Ec2InstanceConnectEndpoint } from '@aws-sdk/client-ec2';
import { command, ec2Id, idOr } from '../cli/shell-command.ts';
import { MintError } from '../errors.ts';
import { type Call, tracked } from './clients.ts';
import type { TunnelReply, TunnelRequest } from './requests.ts';

/** The maximum duration of a tunnel. A policy may require the request to contain it. */
const tunnelSeconds = 3600;
/** How long the URL is valid. */
const signatureSeconds = 60;
/** How long a found endpoint is used without asking again. */
const knownMs = 60_000;

/** The states in which an endpoint opens tunnels. It keeps working while it is changed: EC2's API reference. */
const workingStates = new Set(['create-complete', 'update-in-progress', 'update-complete', 'update-failed']);
const hostForm = /^[a-zA-Z0-9-]{1,63}(?:\.[a-zA-Z0-9-]{1,63}){0,20}(?::\d{1,5})?$/;
const idForm = /^eice-[0-9a-f]{1,40}$/;

interface Known {
  readonly endpoint: Ec2InstanceConnectEndpoint;
  readonly at: number;
}

/**
 * Finds an endpoint and signs the URL of a tunnel to the VM's port with the caller's credentials. The URL is a secret:
 * for a minute it opens that tunnel.
 * @throws MintError `dial-failed` if no endpoint reaches the VM; `aws-…`
 */
export async function tunnel(call: Call, request: TunnelRequest): Promise<TunnelReply> {
  const client = await call.clients.ec2();
  const endpoint = await find(call, request);
  const id = endpoint.InstanceConnectEndpointId ?? '';
  const { useFips, useDualstack, caBundle } = call.clients.settings;
  const name = nameOf(endpoint, useFips, useDualstack) ?? '';
  if (!hostForm.test(name) || !idForm.test(id)) throw nameless(id, useFips);
  const signingDate = new Date(Date.now() + client.config.systemClockOffset);
  const url = await sign(call, name, signingDate, {
    instanceConnectEndpointId: id,
    remotePort: String(request.port),
    privateIpAddress: addressFor(endpoint, request) ?? '',
    maxTunnelDuration: String(tunnelSeconds),
  });
  return { endpoint: id, url, seconds: tunnelSeconds, caBundle };
}

/** Prefers an endpoint in the VM's subnet, then one in its zone (traffic is free), then any in its VPC. */
async function find(call: Call, request: TunnelRequest): Promise<Ec2InstanceConnectEndpoint> {
  const { vpc, subnet, zone, ipv4, ipv6 } = request;
  const { memory } = call.clients;
  const place = ['endpoint', vpc, subnet, zone, ipv4 === undefined, ipv6 === undefined].join(' ');
  const remembered = memory.get(place) as Known | undefined;
  if (remembered !== undefined && Math.abs(Date.now() - remembered.at) < knownMs) return remembered.endpoint;
  const all = await describe(call, vpc);
  const working = all.filter(({ State }) => workingStates.has(State ?? ''));
  const usable = working.filter((each) => addressFor(each, request) !== undefined);
  const endpoint =
    usable.find(({ SubnetId }) => SubnetId === subnet) ??
    usable.find(({ AvailabilityZone }) => AvailabilityZone === zone) ??
    usable[0];
  if (endpoint === undefined) throw none(request, all, call.attempt.region);
  memory.set(place, { endpoint, at: Date.now() });
  return endpoint;
}

/**
 * An endpoint of type `ipv4` connects to IPv4 addresses, one of type `ipv6` to IPv6 addresses, one of type
 * `dualstack`
 * to both.
 * @returns the VM's address for this endpoint; undefined if the VM has none of its family
 */
function addressFor(
  { IpAddressType }: Ec2InstanceConnectEndpoint,
  { ipv4, ipv6 }: TunnelRequest,
): string | undefined {
  if (IpAddressType === 'ipv6') return ipv6;
  return IpAddressType === 'dualstack' ? (ipv4 ?? ipv6) : ipv4;
}

/** The dual-stack name resolves to IPv6 addresses too; an endpoint of type `ipv6` may have no other name. */
function nameOf(
  { DnsName, FipsDnsName, PublicDnsNames, IpAddressType }: Ec2InstanceConnectEndpoint,
  isFips: boolean,
  isDualstack: boolean,
): string | undefined {
  const key = isFips ? 'FipsDnsName' : 'DnsName';
  const [single, dual] = [PublicDnsNames?.Ipv4?.[key], PublicDnsNames?.Dualstack?.[key]];
  const plain = isFips ? FipsDnsName : DnsName;
  const prefersDual = isDualstack || IpAddressType === 'ipv6';
  return prefersDual ? (dual ?? plain ?? single) : (plain ?? single ?? dual);
}

async function describe(call: Call, vpc: string): Promise<Ec2InstanceConnectEndpoint[]> {
  const { DescribeInstanceConnectEndpointsCommand } = await import('./ec2-sdk.ts');
  const client = await call.clients.ec2();
  const found: Ec2InstanceConnectEndpoint[] = [];
  let token: string | undefined;
  do {
    call.signal.throwIfAborted();
    const input = { Filters: [{ Name: 'vpc-id', Values: [vpc] }], NextToken: token };
    const page = tracked(call.attempt, new DescribeInstanceConnectEndpointsCommand(input));
    const answer = await client.send(page, { abortSignal: call.signal });
    found.push(...(answer.InstanceConnectEndpoints ?? []));
    token = answer.NextToken || undefined;
  } while (token !== undefined);
  return found;
}

/**
 * Signature Version 4 in the query, as the AWS CLI opens a tunnel.
 *
 * @param signingDate by AWS's clock, which its reply has shown; this machine's clock may be wrong
 */
async function sign(
  call: Call,
  host: string,
  signingDate: Date,
  query: Record<string, string>,
): Promise<string> {
  const { region, credentials, sha256 } = (await call.clients.ec2()).config;
  const { SignatureV4 } = await import('./ec2-sdk.ts');
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

/** Escapes like the signature: everything except the unreserved characters of RFC 3986 §2.3. */
function escaped(text: string): string {
  return encodeURIComponent(text).replace(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

function none(
  { vpc, subnet }: TunnelRequest,
  all: readonly Ec2InstanceConnectEndpoint[],
  region: string,
): MintError {
  const unfinished = all.find(({ State }) => State === 'create-in-progress');
  if (unfinished !== undefined) {
    return new MintError(
      'dial-failed',
      `the EC2 Instance Connect Endpoint of ${vpc} is still being created`,
      {
        hint: 'that takes some minutes: connect again later',
      },
    );
  }
  const others = all.filter(({ State }) => workingStates.has(State ?? ''));
  if (others.length > 0) {
    const families = [...new Set(others.map(({ IpAddressType }) => IpAddressType ?? 'ipv4'))].join(' and ');
    return new MintError(
      'dial-failed',
      `the EC2 Instance Connect Endpoint of ${vpc} connects to ${families} addresses only, and the VM has none`,
      { hint: 'create an endpoint of IP address type dualstack, or set route or via in ssh.toml' },
    );
  }
  return new MintError('dial-failed', `${vpc} has no EC2 Instance Connect Endpoint`, {
    hint:
      command`create one, which takes some minutes: aws ec2 create-instance-connect-endpoint --subnet-id ${idOr(subnet, ec2Id, 'SUBNET')}` +
      `${command` --region ${region}`}; or set route or via in ssh.toml`,
  });
}

function nameless(id: string, isFips: boolean): MintError {
  const kind = isFips ? 'FIPS host name' : 'host name';
  return new MintError(
    'dial-failed',
    `the EC2 Instance Connect Endpoint ${id} has no ${kind} that can be used`,
    {
      hint: 'run: aws ec2 describe-instance-connect-endpoints',
    },
  );
}
