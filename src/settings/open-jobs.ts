/**
 * `jobs.json`: the open jobs, without secrets. Their keys exist only in the agent's memory. Only the agent writes this
 * file. If the agent does not have the key of a job in it, an earlier agent took that key with it.
 */

import { MintError } from '../errors.ts';
import { quoted, readPrivateFile, writeAtomic } from '../platform/files.ts';
import type { Paths } from '../platform/paths.ts';

export interface OpenJob {
  /** As `vmName` returned it. */
  readonly name: string;
  /** The user on the job's VM. */
  readonly user: string;
  /** An address or a host name; undefined until it is known. */
  readonly host: string | undefined;
  readonly port: number;
  /** `ssh-ed25519 …`, without a comment. */
  readonly publicKey: string;
  /** `SHA256:…` of the host key that cloud-init installs on the VM; undefined if the VM generates its own. */
  readonly hostKey: string | undefined;
  /** ISO 8601. */
  readonly begunAt: string;
}

const version = 1;
const maxBytes = 4_000_000;

/**
 * @returns the open jobs, oldest first
 * @throws MintError `io-failed` for a damaged file, `unsafe-permissions`
 */
export function readOpenJobs({ jobs }: Pick<Paths, 'jobs'>): readonly OpenJob[] {
  const bytes = readPrivateFile(jobs, { maxBytes });
  return bytes === undefined ? [] : parseOpenJobs(bytes.toString('utf8'), jobs);
}

/** @throws MintError `io-failed` */
export function writeOpenJobs({ jobs: path }: Pick<Paths, 'jobs'>, jobs: readonly OpenJob[]): void {
  writeAtomic(path, `${JSON.stringify({ version, jobs }, undefined, 2)}\n`, { mode: 0o600 });
}

/**
 * @param text the content of the file
 * @param path for error messages
 * @throws MintError `io-failed` if the text is not a valid jobs file
 */
export function parseOpenJobs(text: string, path: string): readonly OpenJob[] {
  const damaged = () =>
    new MintError('io-failed', `${quoted(path)} is damaged`, {
      hint: 'remove it, which forgets its jobs; `mint-ssh hosts forget NAME` forgets their host keys',
    });
  let file: unknown;
  try {
    file = JSON.parse(text);
  } catch {
    throw damaged();
  }
  if (!isObject(file) || file['version'] !== version || !Array.isArray(file['jobs'])) throw damaged();
  return file['jobs'].map((entry: unknown) => {
    const job = isObject(entry) ? openJob(entry) : undefined;
    if (job === undefined) throw damaged();
    return job;
  });
}

/** Checks strictly: names, users and hosts become parts of paths and of lines in other files. */
function openJob(entry: Readonly<Record<string, unknown>>): OpenJob | undefined {
  const text = (field: string, form: RegExp) => {
    const value = entry[field];
    return typeof value === 'string' && form.test(value) ? value : undefined;
  };
  const name = text('name', /^[a-z0-9][a-z0-9._-]{0,62}$/);
  const user = text('user', /^[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,31}$/);
  const host = text('host', /^[a-zA-Z0-9_:.%-]{1,253}$/);
  const publicKey = text('publicKey', /^ssh-ed25519 [A-Za-z0-9+/=]{68}$/);
  const hostKey = text('hostKey', /^SHA256:[A-Za-z0-9+/]{43}$/);
  const begunAt = text('begunAt', /^\d{4}-\d{2}-\d{2}T[\d:.]{8,20}Z$/);
  const port = entry['port'];
  if (name === undefined || user === undefined || publicKey === undefined || begunAt === undefined)
    return undefined;
  if (typeof port !== 'number' || !Number.isInteger(port) || port < 1 || port > 65_535) return undefined;
  if (entry['host'] !== undefined && host === undefined) return undefined;
  if (entry['hostKey'] !== undefined && hostKey === undefined) return undefined;
  return { name, user, host, port, publicKey, hostKey, begunAt };
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
