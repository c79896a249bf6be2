/** An EC2 instance as the stand-in knows it. */
export interface Instance {
  /** `i-` and 17 hexadecimal digits. */
  readonly id: string;
  readonly region: string;
  readonly state: 'pending' | 'running' | 'stopping' | 'stopped' | 'shutting-down' | 'terminated';
  /** Where its SSH server listens; the demo's and the tests' hosts are on loopback, on ports of their own. */
  readonly address: string;
}
