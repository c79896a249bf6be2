/** `mint-ssh job begin`: the key, and what lets it in at the VM's first boot. */
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { beginJob, endJob, type Job } from '../agent/job-client.ts';
import { cloudConfig } from '../ci/cloud-config.ts';
import { type JobBlock, refreshJobBlock } from '../ci/job-block.ts';
import type { Options } from '../cli/command.ts';
import { hint, print, say } from '../cli/terminal.ts';
import { loadSettings } from '../settings/settings.ts';
import { settingsKeys } from '../settings/settings-keys.ts';
import { parseHostKey } from '../ssh/hostkey.ts';
import { publicKeyBlob, publicKeyLine } from '../ssh/key-encoding.ts';
import { type JobRequest, jobMisused } from './job-request.ts';

export const beginOptions = {
  user: { type: 'string', value: 'NAME', description: 'begin: log in as this user, not as the image’s own' },
  sudo: { type: 'boolean', description: 'begin: that user may become root, which debug access needs' },
  'host-key': {
    type: 'boolean',
    description: 'begin: give the VM a host key, so that even the first connection is verified',
  },
} as const satisfies Options;

const beginFormats = ['cloud-config', 'authorized-key', 'json'];

/** @throws MintError `usage`, and those of `beginJob` */
export async function begin({ paths, name, values, globals }: JobRequest): Promise<number> {
  const format = (values['format'] as string | undefined) ?? 'cloud-config';
  if (!beginFormats.includes(format)) throw jobMisused(`begin prints ${beginFormats.join(', ')}`);
  const given = values['user'] as string | undefined;
  const wanted = settingsKeys['user'];
  if (given !== undefined && !wanted?.accepts(given)) throw jobMisused(`--user must be ${wanted?.wants}`);
  const sudo = values['sudo'] === true;
  if (sudo && given === undefined)
    throw jobMisused('--sudo goes with --user: the image’s own user has its rights already');
  const hostKey = values['host-key'] === true ? generateKeyPairSync('ed25519').privateKey : undefined;
  if (hostKey !== undefined && format === 'authorized-key') {
    throw jobMisused('--host-key goes with cloud-config or json: an authorized key has no room for it');
  }
  const user = given ?? loadSettings(paths, globals).named(name).user;
  const job = await beginJob(paths, { name, user, hostKey: hostKey && publicKeyBlob(hostKey) });
  try {
    const authorizedKey = `${job.publicKey} mint-job-${name}`;
    const text = await cloudConfig({ authorizedKey, user: given, sudo, hostKey });
    const way = wayTo(name, await refreshJobBlock(paths, name));
    print(
      format === 'json'
        ? jobJson(job, authorizedKey, text, hostKey)
        : ({ 'cloud-config': text, 'authorized-key': authorizedKey }[format] ?? ''),
    );
    hint(`once its VM has an address: mint-ssh job set ${name} --host H; then: ${way}`);
  } catch (error) {
    // Without its user data nobody can use it, and its name would be taken.
    await endJob(paths, name);
    throw error;
  }
  return 0;
}

function jobJson(job: Job, authorizedKey: string, text: string, hostKey: KeyObject | undefined): string {
  const host =
    hostKey === undefined
      ? null
      : {
          public_key: publicKeyLine(hostKey),
          fingerprint: parseHostKey(publicKeyBlob(hostKey)).fingerprint,
        };
  const { name, user } = job;
  return JSON.stringify(
    { name, user, authorized_key: authorizedKey, host_key: host, cloud_config: text },
    undefined,
    2,
  );
}

/** What a person types to reach it. */
function wayTo(name: string, block: JobBlock): string {
  if (block.kind === 'written') return `ssh ${name}`;
  if (block.kind === 'taken') say(`note: \`ssh ${name}\` is not the job's VM, because ${block.reason}`);
  return `mint-ssh ssh ${name}`;
}
