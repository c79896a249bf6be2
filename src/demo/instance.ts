/** An EC2 instance as the stand-in knows it. What is absent is made up where EC2 always has something. */
export interface Instance {
  /** `i-` and 17 hexadecimal digits. */
  readonly id: string;
  readonly region: string;
  readonly state: 'pending' | 'running' | 'stopping' | 'stopped' | 'shutting-down' | 'terminated';
  /** Where its SSH server listens; the demo's and the tests' hosts are on loopback, on ports of their own. */
  readonly address: string;
  readonly tags?: Readonly<Record<string, string>>;
  /** `address`, where absent; null for an instance without a public one. Only told while it runs. */
  readonly publicIp?: string | null;
  readonly privateIp?: string;
  readonly ipv6?: string;
  /** Milliseconds since 1970. */
  readonly launchTime?: number;
  readonly keyName?: string;
  /** The image it was launched from; `cloud.images` may say more of it. */
  readonly image?: string;
  /** What ModifyInstanceAttribute set; `stop`, where absent. */
  readonly shutdownBehaviour?: 'stop' | 'terminate';
  /** Where its ports 22 and 3389 really listen, for an endpoint. */
  readonly endpointPorts?: Readonly<Record<string, number>>;
  readonly vpc?: string;
  readonly subnet?: string;
  /** Such as `us-east-1a`. */
  readonly zone?: string;
  /** The account it belongs to; `demoAccount`, where absent. */
  readonly account?: string;
  readonly console?: {
    /** All of it; GetConsoleOutput gives the last 64 KB. */
    readonly text: string;
    /** Milliseconds since 1970. */
    readonly at: number;
  };
  /** What StartInstances does: `running` after so many milliseconds (else at once), where given at another address. */
  readonly start?: { readonly milliseconds: number; readonly publicIp?: string };
}

export const demoAccount = '123456789012';

/** Where an instance is that does not say it. */
export const demoVpc = 'vpc-0d3f0000000000001';
export const demoSubnet = 'subnet-0d3f0000000000001';
