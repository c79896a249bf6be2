/**
 * The EC2 operations that the demo's logins use, in EC2's form of the Query protocol.
 * https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstances.html and API_GetConsoleOutput.html beside it.
 */
import type { CloudAnswer, CloudCall, CloudService } from './cloud-service.ts';
import { elements, isFailure, listed, queryForm, translated, type Xml, xmlAnswer } from './ec2-xml.ts';
import { demoAccount, demoSubnet, demoVpc, type Instance } from './instance.ts';
import { type WireFailure, type WireFailureName, wireFailure } from './wire-failure.ts';

/** By name. */
export type Ec2Operations = Readonly<
  Record<string, (form: URLSearchParams, region: string) => Xml | WireFailure>
>;

const version = '2016-11-15';

/** GetConsoleOutput returns the last bytes, this many. */
const consoleBytes = 64 * 1024;

const stateCodes: Readonly<Record<Instance['state'], number>> = {
  pending: 0,
  running: 16,
  'shutting-down': 32,
  terminated: 48,
  stopping: 64,
  stopped: 80,
};

/** EC2 answers `AuthFailure` to every unknown caller, and `RequestExpired` to an expired token. */
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

/** @param more operations that extend or replace those of the demo */
export function ec2(instances: ReadonlyMap<string, Instance>, more: Ec2Operations = {}): CloudService {
  const operations: Ec2Operations = {
    DescribeInstances(form, region) {
      const ids = listed(form, 'InstanceId');
      const all = here(instances, region);
      const wanted = ids.length === 0 ? all : instancesWithIds(ids, all);
      return isFailure(wanted) ? wanted : { reservationSet: wanted.map(reservation) };
    },
    GetConsoleOutput(form, region) {
      const id = form.get('InstanceId');
      if (id === null) return wireFailure('MissingParameter', 'The request must contain InstanceId');
      const wanted = instancesWithIds([id], here(instances, region));
      if (isFailure(wanted)) return wanted;
      const console = wanted[0]?.console;
      const output = Buffer.from(console?.text ?? '', 'utf8')
        .subarray(-consoleBytes)
        .toString('base64');
      const timestamp = new Date(console?.at ?? Date.now()).toISOString();
      return { instanceId: id, timestamp, output };
    },
    ...more,
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

/** @returns the instances of a region */
export function here(instances: ReadonlyMap<string, Instance>, region: string): Instance[] {
  return [...instances.values()].filter((instance) => instance.region === region);
}

/** @returns the instances with these IDs, or EC2's failure if one is unknown */
export function instancesWithIds(ids: readonly string[], all: readonly Instance[]): Instance[] | WireFailure {
  const malformed = ids.find((id) => !/^i-(?:[0-9a-f]{8}|[0-9a-f]{17})$/.test(id));
  if (malformed !== undefined) {
    return wireFailure('InvalidInstanceID.Malformed', `Invalid id: "${malformed}"`);
  }
  const missing = ids.filter((id) => !all.some((instance) => instance.id === id));
  if (missing.length > 0) {
    const which = missing.length === 1 ? `ID '${missing[0]}' does` : `IDs '${missing.join(', ')}' do`;
    return wireFailure('InvalidInstanceID.NotFound', `The instance ${which} not exist`);
  }
  return all.filter((instance) => ids.includes(instance.id));
}

/** @returns an instance in the form of DescribeInstances */
export function reservation(instance: Instance): Xml {
  return {
    reservationId: instance.id.replace('i-', 'r-'),
    ownerId: instance.account ?? demoAccount,
    groupSet: [],
    instancesSet: [described(instance)],
  };
}

/** @returns a state with EC2's code */
export function state(name: Instance['state']): Xml {
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
