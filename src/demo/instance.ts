/** An EC2 instance of the stand-in. It invents absent values that EC2 always returns. */
export interface Instance {
  /** `i-` and 17 hexadecimal digits. */
  readonly id: string;
  readonly region: string;
  readonly state: 'pending' | 'running' | 'stopping' | 'stopped' | 'shutting-down' | 'terminated';
  /** The address of its SSH server. The hosts of the demo and the tests have different ports on loopback. */
  readonly address: string;
  readonly tags?: Readonly<Record<string, string>>;
  /** Default: `address`; null for an instance without a public address. Returned only while it runs. */
  readonly publicIp?: string | null;
  readonly privateIp?: string;
  readonly ipv6?: string;
  /** Milliseconds since 1970. */
  readonly launchTime?: number;
  readonly keyName?: string;
  /** The image it was launched from; `cloud.images` may describe it. */
  readonly image?: string;
  /** The value that ModifyInstanceAttribute set; default: `stop`. */
  readonly shutdownBehaviour?: 'stop' | 'terminate';
  /** The real ports of its ports 22 and 3389, for an endpoint. */
  readonly endpointPorts?: Readonly<Record<string, number>>;
  readonly vpc?: string;
  readonly subnet?: string;
  /** Such as `us-east-1a`. */
  readonly zone?: string;
  /** Its account; default: `demoAccount`. */
  readonly account?: string;
  readonly console?: {
    /** The whole output; GetConsoleOutput returns the last 64 KB. */
    readonly text: string;
    /** Milliseconds since 1970. */
    readonly at: number;
  };
  /** StartInstances: the time until `running` (default: at once), and a new public address if given. */
  readonly start?: { readonly milliseconds: number; readonly publicIp?: string };
}

export const demoAccount = '123456789012';

/** The default VPC and subnet of an instance. */
export const demoVpc = 'vpc-0d3f0000000000001';
export const demoSubnet = 'subnet-0d3f0000000000001';
