/** The user and port of a VM if ssh.toml does not set them. */

/** Absent values are unknown. */
export interface UsualLogin {
  readonly user?: string | undefined;
  readonly port?: number | undefined;
}

/** For an ordinary EC2 VM whose image is unknown. */
export const ordinaryLogin = { user: 'ubuntu', port: 22 } as const;

/** Mint sets its VMs up like this. */
export const mintLogin = { user: 'ubuntu', port: 41_122 } as const;
