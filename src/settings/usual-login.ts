/** The user and port of a VM for which ssh.toml sets none. */

/** What is absent is not known. */
export interface UsualLogin {
  readonly user?: string | undefined;
  readonly port?: number | undefined;
}

/** An ordinary EC2 VM whose image is not known. */
export const ordinaryLogin = { user: 'ubuntu', port: 22 } as const;

/** What Mint sets up on its VMs. */
export const mintLogin = { user: 'ubuntu', port: 41_122 } as const;
