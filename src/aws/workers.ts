/** The agent's way to AWS: a worker thread for each caller's AWS environment, a few of them alive at a time. */
import { createHash } from 'node:crypto';
import { MintError } from '../errors.ts';
import { LiveWorker } from './live-worker.ts';
import type {
  ConsoleOutput,
  DescribeVmsRequest,
  EndReply,
  EndRequest,
  Identity,
  ImportKeyPairReply,
  ImportKeyPairRequest,
  InstanceRequest,
  KeyPair,
  KeyPairRequest,
  OperationName,
  Operations,
  PushReply,
  PushRequest,
  StartReply,
  TableReply,
  TableRequest,
  Target,
  TunnelReply,
  TunnelRequest,
  VmDescription,
} from './protocol.ts';
import { sharedFilesStamp } from './shared-files.ts';

export type {
  ConsoleOutput,
  DescribeVmsRequest,
  Identity,
  InstanceRequest,
  KeyPair,
  PushReply,
  PushRequest,
  StartReply,
  Target,
  TunnelReply,
  TunnelRequest,
  VmDescription,
} from './protocol.ts';

/** The caller's AWS settings as they travelled with its request. */
export interface Caller {
  readonly environment: Readonly<Record<string, string>>;
}

/** Milliseconds a call may take, the start of a worker included. */
const callTime = 10_000;
/** Milliseconds after which a worker nobody used is ended: it holds some 20 MB. */
const idleTime = 10 * 60_000;
/** Milliseconds after which a worker that was started for whoever comes is ended, where nobody came. */
const spareTime = 5_000;
/** A worker older than this (milliseconds) may hold credentials that have been renewed since. */
const freshTime = 5_000;

interface Entry {
  readonly worker: LiveWorker;
  /** What the caller's AWS files looked like when the worker was started. */
  readonly files: string;
  /** What STS said to this worker, by target: another one may have other credentials. */
  readonly identities: Map<string, Identity>;
  idle: NodeJS.Timeout;
}

/** Tells environments apart without showing what is in them; the order of the variables does not count. */
export function environmentKey(environment: Readonly<Record<string, string>>): string {
  const sorted = Object.entries(environment).sort(([one], [other]) => (one < other ? -1 : 1));
  return createHash('sha256').update(JSON.stringify(sorted)).digest('base64url');
}

export class AwsWorkers {
  /** In the order of last use, the longest unused first. */
  readonly #live = new Map<string, Entry>();
  readonly #ending = new Set<LiveWorker>();
  readonly #limit: number;
  #spare: { readonly worker: LiveWorker; readonly timer: NodeJS.Timeout } | undefined;
  #closed = false;

  constructor(options: { readonly limit?: number } = {}) {
    this.#limit = options.limit ?? 4;
  }

  /**
   * Authorises a public key on an instance for 60 s, with the caller's credentials and nobody else's. Rejects with
   * a MintError within 10.5 s, as every operation here does.
   */
  async push(caller: Caller, request: PushRequest): Promise<PushReply> {
    const { region, profile, instanceId, osUser, publicKey } = request;
    return await this.#call(caller, 'push', { region, profile, instanceId, osUser, publicKey });
  }

  /** The instances that the request names, whatever page they are on; see there. */
  async describeVms(caller: Caller, request: DescribeVmsRequest): Promise<readonly VmDescription[]> {
    const { region, profile, owner, names, nameTags, ids, keyNames } = request;
    const which = { owner, names, nameTags, ids, keyNames };
    return await this.#call(caller, 'describeVms', { region, profile, ...which });
  }

  /** What EC2 shows of the instance's console. */
  async consoleOutput(caller: Caller, request: InstanceRequest): Promise<ConsoleOutput> {
    const { region, profile, instanceId } = request;
    return await this.#call(caller, 'consoleOutput', { region, profile, instanceId });
  }

  /** Asks for a stopped instance to be started; when it runs is for `describeVms` to see. */
  async startInstance(caller: Caller, request: InstanceRequest): Promise<StartReply> {
    const { region, profile, instanceId } = request;
    return await this.#call(caller, 'startInstance', { region, profile, instanceId });
  }

  /** Terminates or stops an instance; doing it again is no error. */
  async endInstance(caller: Caller, request: EndRequest): Promise<EndReply> {
    const { region, profile, instanceId, how } = request;
    return await this.#call(caller, 'endInstance', { region, profile, instanceId, how });
  }

  /** What becomes of an instance that is shut down from inside. */
  async setShutdown(caller: Caller, request: EndRequest): Promise<void> {
    const { region, profile, instanceId, how } = request;
    await this.#call(caller, 'setShutdown', { region, profile, instanceId, how });
  }

  /** One call to a DynamoDB table. */
  async table(caller: Caller, request: TableRequest): Promise<TableReply> {
    const { region, profile, table, operation, input } = request;
    return await this.#call(caller, 'table', { region, profile, table, operation, input });
  }

  /** The key pair of a name, as EC2 has it in a region. */
  async keyPair(caller: Caller, request: KeyPairRequest): Promise<KeyPair | undefined> {
    const { region, profile, keyName } = request;
    return await this.#call(caller, 'keyPair', { region, profile, keyName });
  }

  /** Has EC2 keep a public key, unless it keeps one under that name already. */
  async importKeyPair(caller: Caller, request: ImportKeyPairRequest): Promise<ImportKeyPairReply> {
    const { region, profile, keyName, publicKey } = request;
    return await this.#call(caller, 'importKeyPair', { region, profile, keyName, publicKey });
  }

  /** Has EC2 forget a key pair. */
  async deleteKeyPair(caller: Caller, request: KeyPairRequest): Promise<void> {
    const { region, profile, keyName } = request;
    await this.#call(caller, 'deleteKeyPair', { region, profile, keyName });
  }

  /** Who AWS says the caller is. */
  async identity(caller: Caller, target: Target): Promise<Identity> {
    const { region, profile } = target;
    const identity = await this.#call(caller, 'identity', { region, profile });
    this.#live
      .get(environmentKey(caller.environment))
      ?.identities.set(JSON.stringify([region, profile]), identity);
    return identity;
  }

  /** The same where it was asked before, and the credentials have not changed since; nobody is asked. */
  knownIdentity(caller: Caller, { region, profile }: Target): Identity | undefined {
    const entry = this.#live.get(environmentKey(caller.environment));
    if (entry?.files !== sharedFilesStamp(caller.environment)) return undefined;
    return entry.identities.get(JSON.stringify([region, profile]));
  }

  /** Where and how to open a tunnel to the instance; the address is good for a minute, for whoever has it. */
  async tunnel(caller: Caller, request: TunnelRequest): Promise<TunnelReply> {
    const { region, profile, vpc, subnet, zone, address, port } = request;
    return await this.#call(caller, 'tunnel', { region, profile, vpc, subnet, zone, address, port });
  }

  /** Begins to load the SDK for a caller who is yet to say who it is. */
  expectCaller(): void {
    const worker = new LiveWorker();
    const timer = setTimeout(() => this.#takeSpare()?.retire(), spareTime).unref();
    this.#spare = { worker, timer };
  }

  /** Loads the SDK and resolves the caller's credentials behind; a failure shows at the push. */
  warm(caller: Caller, target: Target): void {
    if (this.#closed) return;
    const { region, profile } = target;
    this.#worker(caller)
      .call('warm', { region, profile }, callTime)
      .catch(() => undefined);
  }

  /** Ends every worker; calls in flight are rejected. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const entry of this.#live.values()) clearTimeout(entry.idle);
    const workers = [...this.#live.values()].map((entry) => entry.worker);
    this.#live.clear();
    const spare = this.#takeSpare();
    if (spare !== undefined) workers.push(spare);
    await Promise.all([...workers, ...this.#ending].map((worker) => worker.terminate()));
  }

  /**
   * Credentials that AWS refuses are forgotten at once, and tried again where they were old: who has just run
   * `aws sso login` must not have to connect twice.
   */
  async #call<Name extends OperationName>(
    caller: Caller,
    kind: Name,
    request: Operations[Name]['request'],
  ): Promise<Operations[Name]['reply']> {
    const deadline = performance.now() + callTime;
    const left = () => Math.max(0, Math.round(deadline - performance.now()));
    const worker = this.#worker(caller);
    try {
      return await worker.call(kind, request, left());
    } catch (error) {
      if (!(error instanceof MintError) || error.code !== 'aws-credentials') throw error;
      this.#retire(environmentKey(caller.environment), worker);
      if (performance.now() - worker.startedAt < freshTime || left() < 1_000) throw error;
    }
    return await this.#worker(caller).call(kind, request, left());
  }

  /** The caller's live worker, or a new one; marks it as used now. */
  #worker(caller: Caller): LiveWorker {
    if (this.#closed)
      throw new MintError('agent-unavailable', 'the agent is ending', { hint: 'connect again' });
    const key = environmentKey(caller.environment);
    const files = sharedFilesStamp(caller.environment);
    const found = this.#live.get(key);
    if (found !== undefined) {
      if (found.files === files) {
        clearTimeout(found.idle);
        found.idle = this.#idleTimer(key, found.worker);
        this.#live.delete(key);
        this.#live.set(key, found);
        return found.worker;
      }
      this.#retire(key, found.worker);
    }
    const worker = this.#takeSpare() ?? new LiveWorker();
    worker.serve(caller.environment, () => this.#forget(key, worker));
    const identities = new Map<string, Identity>();
    this.#live.set(key, { worker, files, identities, idle: this.#idleTimer(key, worker) });
    for (const [oldest, entry] of this.#live) {
      if (this.#live.size <= this.#limit) break;
      this.#retire(oldest, entry.worker);
    }
    return worker;
  }

  #takeSpare(): LiveWorker | undefined {
    if (this.#spare === undefined) return undefined;
    const { worker, timer } = this.#spare;
    clearTimeout(timer);
    this.#spare = undefined;
    return worker.hasEnded ? undefined : worker;
  }

  #idleTimer(key: string, worker: LiveWorker): NodeJS.Timeout {
    return setTimeout(() => this.#retire(key, worker), idleTime).unref();
  }

  /** Gives the worker no more calls; the ones in flight are still answered. */
  #retire(key: string, worker: LiveWorker): void {
    const entry = this.#live.get(key);
    if (entry?.worker === worker) {
      clearTimeout(entry.idle);
      this.#live.delete(key);
      this.#ending.add(worker);
      worker.retire();
    }
  }

  #forget(key: string, worker: LiveWorker): void {
    this.#ending.delete(worker);
    const entry = this.#live.get(key);
    if (entry?.worker !== worker) return;
    clearTimeout(entry.idle);
    this.#live.delete(key);
  }
}
