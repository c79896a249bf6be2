/**
 * The jobs of this agent. Their private keys exist only in its memory. The rest is in `jobs.json`, from which the next
 * agent knows which keys were lost with this one.
 */
import { generateKeyPairSync } from 'node:crypto';
import { MintError } from '../errors.ts';
import type { Paths } from '../platform/paths.ts';
import { writtenNames } from '../settings/approved-names.ts';
import { type OpenJob, readOpenJobs, writeOpenJobs } from '../settings/open-jobs.ts';
import { loadSettings } from '../settings/settings.ts';
import { settingsKeys } from '../settings/settings-keys.ts';
import { vmName } from '../settings/vm-name.ts';
import { type HostKey, parseHostKey } from '../ssh/hostkey.ts';
import { publicKeyBlob, publicKeyLine } from '../ssh/key-encoding.ts';
import type { SigningKey } from '../ssh/key-signature.ts';
import type { TrustStore } from '../trust/store.ts';
import type { Log } from './context.ts';
import type { Job, JobReply, JobRequest } from './control/protocol.ts';
import { collectGarbage } from './credentials/key-memory.ts';

const defaultPort = 22;
/** With so many open jobs, some must have been left open by mistake. */
const maxJobs = 1000;

export interface NewJob {
  readonly name: string;
  readonly user: string;
  /** The public half of the VM's host key, base64. */
  readonly hostKey: string | undefined;
}

export class Jobs {
  readonly #paths: Paths;
  readonly #trust: TrustStore;
  readonly #log: Log;
  readonly #keys = new Map<string, SigningKey>();

  constructor({
    paths,
    trust,
    log,
  }: { readonly paths: Paths; readonly trust: TrustStore; readonly log: Log }) {
    this.#paths = paths;
    this.#trust = trust;
    this.#log = log;
  }

  /** The names of the jobs whose keys this agent holds. */
  get open(): readonly string[] {
    return [...this.#keys.keys()];
  }

  /**
   * Answers a request of `mint-ssh job`.
   * @param removeSocket closes the VM's agent socket
   * @throws MintError `job-exists`, `job-not-found`, `job-lost`, `io-failed` and others, as the methods below
   */
  async serve(request: JobRequest, removeSocket: (name: string) => Promise<void>): Promise<JobReply> {
    switch (request.type) {
      case 'job-begin':
        return { type: 'job', job: await this.begin(request) };
      case 'job-set':
        return { type: 'job', job: this.set(request.name, request) };
      case 'job-end': {
        const job = this.end(request.name);
        await removeSocket(job.name);
        return { type: 'job-ended', job };
      }
      case 'job-list':
        return { type: 'jobs', jobs: this.list() };
    }
  }

  /** @throws MintError `io-failed` for a damaged `jobs.json` */
  list(): readonly Job[] {
    return readOpenJobs(this.#paths).map((job) => this.#stateOf(job));
  }

  /**
   * @returns the key of a job's VM
   * @throws MintError `job-not-found`, `job-lost`
   */
  key(name: string): SigningKey {
    const key = this.#keys.get(name);
    if (key !== undefined) return key;
    const lost = readOpenJobs(this.#paths).some((job) => job.name === name);
    throw lost ? jobLost(name) : jobNotFound(name);
  }

  /** @throws MintError `job-exists`, `bad-vm-name`, `bad-settings`, `io-failed` */
  async begin({ name: given, user, hostKey: blob }: NewJob): Promise<Job> {
    const name = vmName(given);
    if (!settingsKeys['user']?.accepts(user)) {
      throw new MintError('bad-settings', `the user of a job must be ${settingsKeys['user']?.wants}`);
    }
    const hostKey = blob === undefined ? undefined : readHostKey(blob);
    const jobs = readOpenJobs(this.#paths);
    this.#refuseTaken(name, jobs);
    const { privateKey, publicKey } = generateKeyPairSync('ed25519');
    const job: OpenJob = {
      name,
      user,
      host: undefined,
      port: defaultPort,
      publicKey: publicKeyLine(publicKey),
      hostKey: hostKey?.fingerprint,
      begunAt: new Date().toISOString(),
    };
    // Written first, so that the job can be ended if anything fails after this.
    writeOpenJobs(this.#paths, [...jobs, job]);
    this.#keys.set(name, { privateKey, blob: publicKeyBlob(publicKey) });
    try {
      if (hostKey !== undefined) this.#pin(name, hostKey);
    } catch (error) {
      this.end(name);
      throw error;
    }
    this.#log(`${name}: job begun`);
    return this.#stateOf(job);
  }

  /** @throws MintError `job-not-found`, `job-lost`, `bad-settings` */
  set(name: string, { host, port }: { readonly host: string; readonly port: number | undefined }): Job {
    if (!settingsKeys['host']?.accepts(host)) {
      throw new MintError('bad-settings', `the host of a job must be ${settingsKeys['host']?.wants}`);
    }
    const { jobs, job } = this.#find(name);
    this.key(job.name);
    const changed = { ...job, host, port: port ?? job.port };
    writeOpenJobs(
      this.#paths,
      jobs.map((other) => (other === job ? changed : other)),
    );
    return this.#stateOf(changed);
  }

  /**
   * Deletes the key, the pin and, last, the record; of a lost job, what is left of them.
   * @throws MintError `job-not-found`
   */
  end(name: string): Job {
    const { jobs, job } = this.#find(name);
    const ended = this.#stateOf(job);
    if (this.#keys.delete(job.name)) collectGarbage();
    this.#trust.forget(job.name);
    writeOpenJobs(
      this.#paths,
      jobs.filter((other) => other !== job),
    );
    this.#log(`${job.name}: job ended`);
    return ended;
  }

  #find(given: string): { readonly jobs: readonly OpenJob[]; readonly job: OpenJob } {
    const name = vmName(given);
    const jobs = readOpenJobs(this.#paths);
    const job = jobs.find((open) => open.name === name);
    if (job === undefined) throw jobNotFound(name);
    return { jobs, job };
  }

  /** A job cannot take a name by which something else is reached, or the pin of another machine. */
  #refuseTaken(name: string, jobs: readonly OpenJob[]): void {
    if (jobs.some((job) => job.name === name)) {
      throw new MintError(
        'job-exists',
        `the job ${name} exists already${this.#keys.has(name) ? '' : ', and its key was lost'}`,
        {
          hint: `mint-ssh job end ${name}`,
        },
      );
    }
    if (jobs.length >= maxJobs)
      throw new MintError('job-exists', `${maxJobs} jobs are open: end some of them`);
    const taken = (by: string, hint: string) =>
      new MintError('bad-vm-name', `${name} is already the name of ${by}`, { hint });
    const otherName = 'choose another name for the job';
    const settings = loadSettings(this.#paths, {}).vm(name);
    // With that access, ssh.toml itself says that the VM belongs to a job.
    if (settings !== undefined && settings.access !== 'injected') throw taken('a VM in ssh.toml', otherName);
    if (settings === undefined && writtenNames(this.#paths).all.has(name))
      throw taken('a VM in ssh_config', otherName);
    if (this.#trust.show(name) !== undefined) {
      throw taken(
        'a VM whose host key is pinned',
        `choose another name, or forget the pin: mint-ssh hosts forget ${name}`,
      );
    }
  }

  /** Pins the key that the command has put into the VM's user data. Only a machine that has read that can present it. */
  #pin(vm: string, key: HostKey): void {
    if (this.#trust.pinForJob(vm, key)) return;
    throw new MintError('job-exists', `${vm} has a pinned host key already`, {
      hint: `mint-ssh hosts forget ${vm}`,
    });
  }

  #stateOf(job: OpenJob): Job {
    return { ...job, state: this.#keys.has(job.name) ? 'open' : 'lost' };
  }
}

function readHostKey(base64: string): HostKey {
  const blob = Buffer.from(base64, 'base64');
  const key = parseHostKey(blob);
  if (key.type === 'ssh-ed25519') return key;
  throw new MintError('key-invalid', 'the host key of a job is an ed25519 key');
}

function jobNotFound(name: string): MintError {
  return new MintError('job-not-found', `job not found: ${name}`, {
    hint: '`mint-ssh job list` shows the open jobs, `mint-ssh job begin NAME` begins one',
  });
}

function jobLost(name: string): MintError {
  return new MintError('job-lost', `the key of job ${name} was lost when its agent ended`, {
    hint: `the VM cannot be reached any more: mint-ssh job end ${name}, then begin another job`,
  });
}
