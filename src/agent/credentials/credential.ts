/**
 * What authorizes the client of one connection to log in: a key that is pushed, a managed key, the key of a job, or a
 * key of the user's own. The checks of the host key are the same for all of them.
 */
import type { Caller } from '../../platform/caller.ts';
import type { VmSettings } from '../../settings/settings.ts';
import type { SigningKey } from '../../ssh/key-signature.ts';
import type { RefusalWords } from '../control/protocol.ts';
import type { Place } from '../destination.ts';
import type { AskSecret } from '../questions.ts';
import type { Vm } from '../vm.ts';
import type { Whereabouts } from '../whereabouts.ts';

/** A login takes no longer than this from its key exchange to its signature: sshd's LoginGraceTime. */
export const loginLimitMs = 120_000;

/** One login, as far as its credential and the audit log are concerned. */
export interface Login {
  readonly vm: Vm;
  readonly settings: VmSettings;
  readonly caller: Caller;
  /** On the VM. */
  readonly user: string;
  /** A session that was authorized by an earlier agent: nothing is to be granted for it. */
  readonly isEstablished: boolean;
  readonly destination: Pick<Whereabouts, 'place' | 'isOwnByTag'>;
  /**
   * Where the connection goes.
   * @throws MintError where that is not known yet
   */
  readonly place: () => Place;
  /**
   * AWS refused the push. Finds out whether the VM has moved or can be started.
   * @returns true where the push is worth another attempt, for the place that `place` returns now
   * @throws MintError where the agent knows a better reason than the one AWS gave
   */
  readonly recover: (error: unknown) => Promise<boolean>;
  readonly askSecret: AskSecret;
  /** Shows the user one line. */
  readonly tell: (line: string) => void;
}

/** A connection has one at a time; `choose.ts` decides which. */
export interface Credential {
  /** Fingerprint of the key and id of the push request, for audit.log; undefined until they are known. */
  readonly fingerprint: string | undefined;
  readonly requestId: string | undefined;
  /** The client's own agent, or a key file of the user's, signs: the VM's socket lists and signs nothing. */
  readonly isSignedElsewhere: boolean;
  /** The public key that the VM's socket lists for this connection. */
  readonly listed: Buffer | undefined;
  /**
   * The key that signs a login now; undefined where none is authorized, or no longer. A promise only where the user
   * has to be asked for a passphrase.
   */
  readonly signingKey: SigningKey | undefined | Promise<SigningKey | undefined>;
  /** What the client is offered after this one's key, where the VM may refuse that. */
  readonly fallback?: Credential | undefined;
  /** What the user is told where the VM refused the key. */
  readonly refusal: RefusalWords;
  /** Milliseconds from now after which no signature is made. */
  readonly remainingMs: number;
  /**
   * The place is known: starts the work that takes long and asks the user nothing.
   * @throws MintError
   */
  begin(): Promise<void>;
  /** Resolves when the work that `begin` started has ended, successfully or not. */
  begun(): Promise<void>;
  /** The connection goes to another instance than before: so does the key. */
  retarget(): void;
  /**
   * Resolves once the VM accepts the key, and will for long enough.
   * @returns how long the push took, in milliseconds; undefined where none was made for this connection
   * @throws MintError
   */
  authorize(): Promise<number | undefined>;
  /** The login is over, or will not be made: no key is kept for it. */
  release(): void;
  /** The first signature of the connection has been made. */
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
