/** User data for cloud-init that lets a job's key in at the first boot. https://docs.cloud-init.io/en/latest/reference/modules.html */
import type { KeyObject } from 'node:crypto';
import { stringify } from 'yaml';
import { encodePrivateKey } from '../keys/store/private-key.ts';
import { publicKeyLine } from '../ssh/key-encoding.ts';

export interface BootKeys {
  /** The job's public key with a comment, as a line of authorized_keys. */
  readonly authorizedKey: string;
  /** Undefined for the user that the image makes by itself. */
  readonly user: string | undefined;
  /** The user may become root without a password. */
  readonly sudo: boolean;
  /** A pair, where the VM is to have a host key that is known beforehand. */
  readonly hostKey: KeyObject | undefined;
}

/**
 * The whole text, from its `#cloud-config` on.
 *
 * Keys at the top are for the image's own user; any other has an entry of its own, and `default` keeps the image's. Root
 * is let in by `disable_root`, without which cloud-init puts a command that says no before each of its keys. Where `ssh_keys`
 * has a host key, cloud-init makes no others; the ones that came with the image go.
 */
export async function cloudConfig({ authorizedKey, user, sudo, hostKey }: BootKeys): Promise<string> {
  const config = {
    ...(user === undefined ? { ssh_authorized_keys: [authorizedKey] } : userEntry(user, authorizedKey, sudo)),
    ...(hostKey === undefined ? {} : await hostKeys(hostKey)),
  };
  // cloud-init reads YAML 1.1, where `no` and `on` are no words.
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
