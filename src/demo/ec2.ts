/**
 * The operations of EC2 that the product uses, in the EC2 flavour of the Query protocol.
 * https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstances.html,
 * API_GetConsoleOutput.html and API_StartInstances.html beside it.
 */
import type { CloudAnswer, CloudCall, CloudService } from './cloud-service.ts';
import { endingOperations } from './ec2-endings.ts';
import { endpointOperations, type InstanceConnectEndpoint } from './ec2-endpoints.ts';
import { type Image, imageOperations } from './ec2-images.ts';
import { isFailure, startInstances, wantedInstances } from './ec2-instances.ts';
import { type KeyPairs, keyPairOperations } from './ec2-key-pairs.ts';
import { elements, queryForm, translated, type Xml, xmlAnswer } from './ec2-xml.ts';
import { demoAccount, demoSubnet, demoVpc, type Instance } from './instance.ts';
import { type WireFailure, type WireFailureName, wireFailure } from './wire-failure.ts';

const version = '2016-11-15';

/** GetConsoleOutput keeps this much, the newest. */
const consoleBytes = 64 * 1024;

const stateCodes: Readonly<Record<Instance['state'], number>> = {
  pending: 0,
  running: 16,
  'shutting-down': 32,
  terminated: 48,
  stopping: 64,
  stopped: 80,
};

/** EC2 says `AuthFailure` of every caller it does not know, and calls a token's end an expired request. */
const names: Readonly<Partial<Record<WireFailureName, WireFailureName>>> = {
  AccessDeniedException: 'UnauthorizedOperation',
  ExpiredTokenException: 'RequestExpired',
  IncompleteSignatureException: 'AuthFailure',
  InvalidSignatureException: 'AuthFailure',
  MissingAuthenticationTokenException: 'AuthFailure',
  ThrottlingException: 'RequestLimitExceeded',
  UnknownOperationException: 'InvalidAction',
  UnrecognizedClientException: 'AuthFailure',
};

export interface Ec2Options {
  readonly paging: { readonly size: number };
  /** The instances on their way to `running`, for whoever ends the cloud. */
  readonly starting: Set<NodeJS.Timeout>;
  readonly keyPairs: KeyPairs;
  /** By id. */
  readonly images: ReadonlyMap<string, Image>;
  /** By id. */
  readonly endpoints: ReadonlyMap<string, InstanceConnectEndpoint>;
}

export function ec2(
  instances: Map<string, Instance>,
  { paging, starting, keyPairs, images, endpoints }: Ec2Options,
): CloudService {
  const operations: Readonly<Record<string, (form: URLSearchParams, region: string) => Xml | WireFailure>> = {
    ...keyPairOperations(keyPairs),
    ...imageOperations(images),
    ...endpointOperations(endpoints, paging),
    ...endingOperations(instances, state),
    DescribeInstances(form, region) {
      const wanted = wantedInstances(form, here(instances, region), paging.size);
      if (isFailure(wanted)) return wanted;
      const reservationSet = wanted.page.map((instance) => ({
        reservationId: instance.id.replace('i-', 'r-'),
        ownerId: instance.account ?? demoAccount,
        groupSet: [],
        instancesSet: [described(instance)],
      }));
      return { reservationSet, nextToken: wanted.nextToken };
    },
    GetConsoleOutput(form, region) {
      const id = form.get('InstanceId');
      if (id === null) return wireFailure('MissingParameter', 'The request must contain InstanceId');
      const named = new URLSearchParams({ 'InstanceId.1': id });
      const wanted = wantedInstances(named, here(instances, region), paging.size);
      if (isFailure(wanted)) return wanted;
      const console = wanted.page[0]?.console;
      // A terminal writes CR LF, and EC2 shows what the terminal wrote.
      const output = Buffer.from(console?.text ?? '', 'utf8')
        .subarray(-consoleBytes)
        .toString('base64');
      const timestamp = new Date(console?.at ?? Date.now()).toISOString();
      return { instanceId: id, timestamp, output };
    },
    StartInstances(form, region) {
      const wanted = wantedInstances(form, here(instances, region), Number.POSITIVE_INFINITY);
      if (isFailure(wanted)) return wanted;
      const changes = startInstances(wanted.page, instances, starting);
      if (isFailure(changes)) return changes;
      return {
        instancesSet: changes.map(({ id, from, to }) => ({
          instanceId: id,
          currentState: state(to),
          previousState: state(from),
        })),
      };
    },
  };

  return {
    signingName: 'ec2',
    operation: (request) => queryForm(request, version)?.get('Action') ?? undefined,
    answer({ request, operation, caller, requestId }: CloudCall): CloudAnswer | WireFailure {
      const form = queryForm(request, version);
      const run = Object.hasOwn(operations, operation) ? operations[operation] : undefined;
      if (form === undefined || run === undefined) {
        return wireFailure('InvalidAction', `The action ${operation} is not valid for this web service.`);
      }
      const outcome = run(form, caller.region);
      if (isFailure(outcome)) return outcome;
      const body = elements({ requestId, ...Object(outcome) });
      const name = `${operation}Response`;
      return xmlAnswer(200, `<${name} xmlns="http://ec2.amazonaws.com/doc/${version}/">${body}</${name}>`);
    },
    failure(failure, requestId) {
      const { failure: Code, status, message: Message } = translated(failure, names);
      const body = elements({ Errors: { Error: { Code, Message } }, RequestID: requestId });
      return { ...xmlAnswer(status, `<Response>${body}</Response>`), errorType: undefined };
    },
  };
}

function here(instances: ReadonlyMap<string, Instance>, region: string): Instance[] {
  return [...instances.values()].filter((instance) => instance.region === region);
}

function state(name: Instance['state']): Xml {
  return { code: stateCodes[name], name };
}

function described(instance: Instance): Xml {
  const { id, publicIp, privateIp, ipv6, tags = {}, keyName, vpc = demoVpc, subnet = demoSubnet } = instance;
  const { image = 'ami-0d3f0000000000001' } = instance;
  const gone = instance.state === 'terminated';
  const ipAddress = instance.state !== 'running' ? undefined : (publicIp ?? instance.address);
  return {
    instanceId: id,
    imageId: image,
    instanceState: state(instance.state),
    privateDnsName: '',
    dnsName: '',
    keyName,
    instanceType: 't3.small',
    launchTime: new Date(instance.launchTime ?? 1_767_225_600_000).toISOString(),
    placement: { availabilityZone: instance.zone ?? `${instance.region}a`, tenancy: 'default' },
    vpcId: gone ? undefined : vpc,
    subnetId: gone ? undefined : subnet,
    privateIpAddress: gone ? undefined : privateIp,
    ipAddress: publicIp === null ? undefined : ipAddress,
    ipv6Address: gone ? undefined : ipv6,
    tagSet: Object.entries(tags).map(([key, value]) => ({ key, value })),
    networkInterfaceSet: gone
      ? []
      : [
          {
            networkInterfaceId: id.replace('i-', 'eni-'),
            vpcId: vpc,
            privateIpAddress: privateIp,
            ipv6AddressesSet: ipv6 === undefined ? [] : [{ ipv6Address: ipv6, isPrimaryIpv6: true }],
          },
        ],
  };
}
