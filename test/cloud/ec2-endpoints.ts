/**
 * EC2 Instance Connect Endpoints as EC2 describes them.
 * https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstanceConnectEndpoints.html
 */
import { listed, type Xml } from '../../src/demo/ec2-xml.ts';
import { demoAccount } from '../../src/demo/instance.ts';
import { type WireFailure, wireFailure } from '../../src/demo/wire-failure.ts';

export interface InstanceConnectEndpoint {
  /** `eice-` and 17 hexadecimal digits. */
  readonly id: string;
  readonly region: string;
  /** Where it is reached; EC2 names no port, and 443 is meant. */
  readonly dnsName: string;
  readonly fipsDnsName?: string;
  /** `ipv4` if absent. */
  readonly ipAddressType?: 'ipv4' | 'dualstack' | 'ipv6';
  /** Resolves to IPv6 addresses too. */
  readonly dualstackDnsName?: string;
  readonly state: string;
  readonly vpc: string;
  readonly subnet: string;
  readonly zone: string;
}

/** By operation. @param endpoints by id */
export function endpointOperations(
  endpoints: ReadonlyMap<string, InstanceConnectEndpoint>,
  paging: { readonly size: number },
): Readonly<Record<string, (form: URLSearchParams, region: string) => Xml | WireFailure>> {
  return {
    DescribeInstanceConnectEndpoints(form, region) {
      let wanted = [...endpoints.values()].filter((endpoint) => endpoint.region === region);
      for (let at = 1; form.has(`Filter.${at}.Name`); at++) {
        const values = listed(form, `Filter.${at}.Value`);
        const name = form.get(`Filter.${at}.Name`) ?? '';
        if (name !== 'vpc-id' && name !== 'state')
          return wireFailure('InvalidParameterValue', `The filter '${name}' is invalid`);
        wanted = wanted.filter(({ vpc, state }) => values.includes(name === 'vpc-id' ? vpc : state));
      }
      const begin = Number(form.get('NextToken') ?? 0);
      const end = begin + paging.size;
      return {
        instanceConnectEndpointSet: wanted.slice(begin, end).map(described),
        nextToken: end < wanted.length ? String(end) : undefined,
      };
    },
  };
}

function described(endpoint: InstanceConnectEndpoint): Xml {
  const { id, region, dnsName, fipsDnsName, ipAddressType, dualstackDnsName, state, vpc, subnet, zone } =
    endpoint;
  return {
    ownerId: demoAccount,
    instanceConnectEndpointId: id,
    instanceConnectEndpointArn: `arn:aws:ec2:${region}:${demoAccount}:instance-connect-endpoint/${id}`,
    state,
    dnsName,
    fipsDnsName,
    ipAddressType: ipAddressType ?? 'ipv4',
    publicDnsNames: {
      ipv4: ipAddressType === 'ipv6' ? undefined : { dnsName, fipsDnsName },
      dualstack: dualstackDnsName === undefined ? undefined : { dnsName: dualstackDnsName },
    },
    networkInterfaceIdSet: [],
    vpcId: vpc,
    availabilityZone: zone,
    subnetId: subnet,
    preserveClientIp: false,
    securityGroupIdSet: [],
  };
}
