/**
 * What authorizes the client of one connection to log in: a key that is pushed, a managed key, the key of a job, or a
 * key of the user's own. The checks of the host key are the same for all of them.
 */
import type { Caller } from '../../platform/caller.ts';
import type { VmSettings } from '../../settings/settings.ts';
import type { SigningKey } from '../../ssh/key-signature.ts';
import type { BlockRefresh } from '../block-refresh.ts';
import type { AgentContext } from '../context.ts';
import type { RefusalWords } from '../control/protocol.ts';
import type { Jobs } from '../jobs.ts';
import type { AskSecret } from '../prompt.ts';
import type { ResolvedTarget, Target } from '../target.ts';
import type { Vm } from '../vm-socket.ts';
import type { ManagedKeys } from './managed-keys.ts';

/** The longest time from the key exchange of a login to its signature: sshd's LoginGraceTime. */
export const loginLimitMs = 120_000;

export interface CredentialContext extends AgentContext {
  readonly jobs: Jobs;
  readonly managedKeys: ManagedKeys;
  readonly blockRefresh: BlockRefresh;
}

/** One login, as far as its credential and the audit log are concerned. */
export interface Login {
  readonly vm: Vm;
  readonly settings: VmSettings;
  readonly caller: Caller;
  /** On the VM. */
  readonly user: string;
  /** A session that an earlier agent authorized: it needs no credential. */
  readonly isEstablished: boolean;
  readonly target: Pick<Target, 'resolved' | 'isOwnByTag'>;
  /**
   * @returns where the connection goes
   * @throws MintError `vm-not-found` if that is not known yet
   */
  readonly resolved: () => ResolvedTarget;
  /**
   * AWS refused the push. Finds out whether the VM has moved or can be started.
   * @returns true if the push is worth another attempt, for the target that `resolved` returns now
   * @throws MintError `vm-not-running`, `vm-not-found` or `vm-ambiguous` if that is a better reason than the one that AWS gave
   */
  readonly recover: (error: unknown) => Promise<boolean>;
  readonly askSecret: AskSecret;
  /** Shows the user one line. */
  readonly tell: (line: string) => void;
  /** Replaces the words that the proxy has prepared for a refusal. */
  readonly explain: (words: RefusalWords) => void;
}

/** What authorizes one login. A connection has one at a time; `choose.ts` decides which. */
export interface Credential {
  /** The fingerprint of the key and the id of the push request, for audit.log; undefined until they are known. */
  readonly fingerprint: string | undefined;
  readonly requestId: string | undefined;
  /** The client's own agent, or a key file of the user's, signs: the VM's socket lists and signs nothing. */
  readonly isSignedElsewhere: boolean;
  /** The public key that the VM's socket lists for this connection. */
  readonly listed: Buffer | undefined;
  /**
   * The key that signs a login now; undefined if none is authorized, or no longer. A promise only if the user has to be
   * asked for a passphrase.
   */
  readonly signingKey: SigningKey | undefined | Promise<SigningKey | undefined>;
  /** What the client is offered next, in this order, if the VM may refuse this key. */
  readonly fallbacks?: readonly Credential[];
  /** What the user is told if the VM refused the key. */
  readonly refusal: RefusalWords;
  /** Milliseconds from now after which no signature is made. */
  readonly remainingMs: number;
  /**
   * The target is known: starts the work that takes long and asks the user nothing.
   * @throws MintError `push-failed`, `aws-…`, `vm-…`: what that work throws
   */
  begin(): Promise<void>;
  /** Resolves when the work that `begin` started has ended, successfully or not. */
  begun(): Promise<void>;
  /** The connection goes to another instance than before, so the key must too. */
  retarget(): void;
  /**
   * Resolves once the VM accepts the key and will do so for long enough.
   * @returns how long the push took, in milliseconds; undefined if none was made for this connection
   * @throws MintError `push-failed`, `aws-…`, `vm-…` of the push; `key-passphrase`, `key-store` and others of unlocking the key
   */
  authorize(): Promise<number | undefined>;
  /** The login has ended or will not be made: no key is kept for it. */
  release(): void;
  /** The key has signed for the login. */
  recordUse(): void;
  /** The VM refused the key. */
  recordRefusal?(): void;
}

/** The methods of a credential that needs no push and holds no key. */
export const nothingToDo = {
  requestId: undefined,
  begin: async () => {},
  begun: async () => {},
  retarget: () => {},
  authorize: async () => undefined,
  release: () => {},
  recordUse: () => {},
} satisfies Partial<Credential>;
