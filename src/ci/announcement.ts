/** What a person needs to get into a VM, and what ends it. Every word of it is checked: it goes into a build log. */
import type { Lease } from './lease.ts';
import { endInside } from './vm-script.ts';

export interface Announcement {
  readonly lease: Lease;
  readonly hostKey: { readonly type: string; readonly base64: string; readonly fingerprint: string };
  /** A one-off private key, as a file of OpenSSH's, where that was asked for. */
  readonly privateKey: string | undefined;
  /** `SHA256:…` of the keys that are let in. */
  readonly admitted: readonly string[];
  /** What was armed on the VM: `systemd-run`, `shutdown`, `end-command`. */
  readonly armedBy: string;
  /** What `debug end` needs beside the lease, fit for a shell: empty, or ` --leases dynamodb:TABLE`. */
  readonly endOptions: string;
}

/** Fields of the JSON form, and the ground of all others. */
export interface AnnouncementFields {
  readonly lease: string;
  readonly project: string;
  readonly vm: string;
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly host_key_type: string;
  readonly host_key_fingerprint: string;
  readonly known_hosts: string;
  /** For a shell: the known_hosts file, then ssh. */
  readonly commands: readonly string[];
  readonly admitted: readonly string[];
  /** ISO 8601, in UTC. */
  readonly ends_at: string;
  readonly armed_by: string;
  readonly end_inside: string;
  readonly end_outside: string;
  readonly private_key?: string;
}

export function announcementFields(announcement: Announcement): AnnouncementFields {
  const { lease, hostKey, privateKey, admitted, armedBy, endOptions } = announcement;
  const { id, project, vm, host, port, user, endsAt } = lease;
  const known = knownHostsLine(host, port, `${hostKey.type} ${hostKey.base64}`);
  const knownHosts = `mint-debug-${id}.known_hosts`;
  const identity = privateKey === undefined ? '' : ` -i mint-debug-${id}.key -o IdentitiesOnly=yes`;
  const options = `-o UserKnownHostsFile=${knownHosts} -o StrictHostKeyChecking=yes`;
  return {
    lease: id,
    project,
    vm,
    host,
    port,
    user,
    host_key_type: hostKey.type,
    host_key_fingerprint: hostKey.fingerprint,
    known_hosts: known,
    commands: [`echo '${known}' > ${knownHosts}`, `ssh ${options}${identity} -p ${port} ${user}@${host}`],
    admitted,
    ends_at: new Date(endsAt).toISOString(),
    armed_by: armedBy,
    end_inside: endInside,
    end_outside: `mint-ssh debug end ${id}${endOptions}`,
    ...(privateKey === undefined ? {} : { private_key: privateKey }),
  };
}

/** sshd(8), SSH_KNOWN_HOSTS FILE FORMAT: a port that is not 22 stands behind a name in brackets. */
function knownHostsLine(host: string, port: number, key: string): string {
  return `${port === 22 ? host : `[${host}]:${port}`} ${key}`;
}
