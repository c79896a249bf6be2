/** The agent's way to AWS: every call is made in the worker of its caller's environment, with its credentials alone. */
import { MintError } from '../errors.ts';
import type { LiveWorker } from './live-worker.ts';
import type { Identity, OperationName, Operations, Target } from './protocol.ts';
import { crossing } from './request-fields.ts';
import { WorkerPool } from './worker-pool.ts';

export type {
  Identity,
  ImageDescription,
  KeyPair,
  PushRequest,
  Target,
  TunnelReply,
  TunnelRequest,
  VmDescription,
} from './protocol.ts';

/** The caller's AWS settings as they travelled with its request. */
export interface Caller {
  readonly environment: Readonly<Record<string, string>>;
}

/** Rejects with a MintError within 10.5 s. */
type Operation<Name extends OperationName> = (
  caller: Caller,
  request: Operations[Name]['request'],
) => Promise<Operations[Name]['reply']>;

/** Milliseconds a call may take, the start of a worker included. */
const callTime = 10_000;
/** A worker older than this (milliseconds) may hold credentials that have been renewed since. */
const freshTime = 5_000;

export class AwsWorkers {
  /** Authorises a public key on an instance for 60 s. */
  readonly push = this.#operation('push');
  /** The instances that the request names, whatever page they are on; see there. */
  readonly describeVms = this.#operation('describeVms');
  /** The images with these IDs; an image that is gone or not shared with the caller is left out. */
  readonly images = this.#operation('images');
  /** What EC2 shows of the instance's console. */
  readonly consoleOutput = this.#operation('consoleOutput');
  /** Asks for a stopped instance to be started; when it runs is for `describeVms` to see. */
  readonly startInstance = this.#operation('startInstance');
  /** Terminates or stops an instance; doing it again is no error. */
  readonly endInstance = this.#operation('endInstance');
  /** What becomes of an instance that is shut down from inside. */
  readonly setShutdown = this.#operation('setShutdown');
  /** One call to a DynamoDB table. */
  readonly table = this.#operation('table');
  /** The key pair of a name, as EC2 has it in a region. */
  readonly keyPair = this.#operation('keyPair');
  /** Has EC2 keep a public key, unless it keeps one under that name already. */
  readonly importKeyPair = this.#operation('importKeyPair');
  /** Has EC2 forget a key pair. */
  readonly deleteKeyPair = this.#operation('deleteKeyPair');
  /** Where and how to open a tunnel to the instance; the address is good for a minute, for whoever has it. */
  readonly tunnel = this.#operation('tunnel');

  readonly #pool: WorkerPool;
  /** What STS said to each worker, by target: another one may have other credentials. */
  readonly #identities = new WeakMap<LiveWorker, Map<string, Identity>>();

  constructor({ limit = 4 }: { readonly limit?: number } = {}) {
    this.#pool = new WorkerPool(limit);
  }

  /** Who AWS says the caller is. */
  async identity(caller: Caller, target: Target): Promise<Identity> {
    const identity = await this.#call(caller, 'identity', target);
    const worker = this.#pool.current(caller.environment);
    if (worker === undefined) return identity;
    const known = this.#identities.get(worker) ?? new Map<string, Identity>();
    this.#identities.set(worker, known.set(keyOf(target), identity));
    return identity;
  }

  /** The same where it was asked before, and the credentials have not changed since; nobody is asked. */
  knownIdentity(caller: Caller, target: Target): Identity | undefined {
    const worker = this.#pool.current(caller.environment);
    return worker && this.#identities.get(worker)?.get(keyOf(target));
  }

  /** Begins to load the SDK for a caller who is yet to say who it is. */
  expectCaller(): void {
    this.#pool.expectCaller();
  }

  /** Loads the SDK and resolves the caller's credentials behind; a failure shows at the push. */
  warm(caller: Caller, target: Target): void {
    if (this.#pool.isClosed) return;
    this.#pool
      .worker(caller.environment)
      .call('warm', crossing('warm', target), callTime)
      .catch(() => undefined);
  }

  /** Ends every worker; calls in flight are rejected. */
  async close(): Promise<void> {
    await this.#pool.close();
  }

  #operation<Name extends OperationName>(kind: Name): Operation<Name> {
    return (caller, request) => this.#call(caller, kind, request);
  }

  /**
   * Credentials that AWS refuses are forgotten at once, and tried again where they were old: who has just run
   * `aws sso login` must not have to connect twice.
   */
  async #call<Name extends OperationName>(
    { environment }: Caller,
    kind: Name,
    request: Operations[Name]['request'],
  ): Promise<Operations[Name]['reply']> {
    const deadline = performance.now() + callTime;
    const left = () => Math.max(0, Math.round(deadline - performance.now()));
    const worker = this.#pool.worker(environment);
    const crosses = crossing(kind, request);
    try {
      return await worker.call(kind, crosses, left());
    } catch (error) {
      if (!(error instanceof MintError) || error.code !== 'aws-credentials') throw error;
      this.#pool.retire(worker);
      if (performance.now() - worker.startedAt < freshTime || left() < 1_000) throw error;
    }
    return await this.#pool.worker(environment).call(kind, crosses, left());
  }
}

function keyOf({ region, profile }: Target): string {
  return JSON.stringify([region, profile]);
}
