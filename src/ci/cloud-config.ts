/**
 * User data for cloud-init that authorizes a job's key at the first boot.
 *
 * @see https://docs.cloud-init.io/en/latest/reference/modules.html
 */
import type { KeyObject } from 'node:crypto';
import { stringify } from 'yaml';
import { encodePrivateKey } from '../keys/store/private-key.ts';
import { publicKeyLine } from '../ssh/key-encoding.ts';

export interface BootKeys {
  /** The job's public key with a comment, as a line for authorized_keys. */
  readonly authorizedKey: string;
  /** Undefined for the image's default user. */
  readonly user: string | undefined;
  /** Whether the user may become root without a password. */
  readonly sudo: boolean;
  /** The VM's host key, if it was generated beforehand. */
  readonly hostKey: KeyObject | undefined;
}

/**
 * Keys at the top level are for the image's default user. Every other user needs an entry in `users`, where `default`
 * keeps the image's user. Without `disable_root: false`, cloud-init prepends to each key of root a command that refuses
 * the login. With a host key in `ssh_keys`, cloud-init generates none, and deletes those of the image.
 *
 * @returns the text, which starts with `#cloud-config`
 */
export async function cloudConfig({ authorizedKey, user, sudo, hostKey }: BootKeys): Promise<string> {
  const config = {
    ...(user === undefined ? { ssh_authorized_keys: [authorizedKey] } : userEntry(user, authorizedKey, sudo)),
    ...(hostKey === undefined ? {} : await hostKeys(hostKey)),
  };
  // cloud-init reads YAML 1.1, in which `no` and `on` are booleans.
  return `#cloud-config\n${stringify(config, { version: '1.1', lineWidth: 0, blockQuote: 'literal' })}`;
}

function userEntry(name: string, authorizedKey: string, sudo: boolean): Record<string, unknown> {
  const keys = { ssh_authorized_keys: [authorizedKey] };
  if (name === 'root') return { disable_root: false, users: ['default', { name, ...keys }] };
  const rights = sudo ? { sudo: 'ALL=(ALL) NOPASSWD:ALL' } : {};
  return { users: ['default', { name, lock_passwd: true, shell: '/bin/sh', ...rights, ...keys }] };
}

async function hostKeys(pair: KeyObject): Promise<Record<string, unknown>> {
  const file = await encodePrivateKey(pair, 'openssh', { comment: '' });
  return {
    ssh_deletekeys: true,
    ssh_keys: { ed25519_private: file.toString('latin1'), ed25519_public: publicKeyLine(pair) },
  };
}
