/**
 * What lets the client of one connection in: which key that is, what it takes for the VM to know it, and who
 * signs with it. What a connection checks of the host is the same for all of them.
 */
import type { Caller } from '../aws/workers.ts';
import type { VmSettings } from '../settings/settings.ts';
import type { SigningKey } from '../ssh/key-signature.ts';
import type { RefusalWords } from './control/protocol.ts';
import type { Place } from './destination.ts';
import type { AskSecret } from './questions.ts';
import type { Vm } from './vm.ts';
import type { Whereabouts } from './whereabouts.ts';

/** One login, as far as it concerns what lets it in and what is noted of it. */
export interface Login {
  readonly vm: Vm;
  readonly settings: VmSettings;
  readonly caller: Caller;
  /** On the VM. */
  readonly user: string;
  /** A session that stands already, for a new agent to know: nothing is to be granted for it. */
  readonly isEstablished: boolean;
  readonly destination: Pick<Whereabouts, 'place' | 'isOwnByTag'>;
  /** Where the connection goes. @throws MintError where that is not known yet */
  readonly place: () => Place;
  /**
   * AWS refused: whether it was mended, so that it may be asked again for the place that is now.
   * @throws MintError where something better is known than what AWS said
   */
  readonly mend: (error: unknown) => Promise<boolean>;
  readonly askSecret: AskSecret;
}

export interface Authorisation {
  /** Fingerprint and request, for audit.log; undefined as long as they are not known. */
  readonly fingerprint: string | undefined;
  readonly requestId: string | undefined;
  /** The client's own agent, or a file of the user's, signs: the VM's socket has no part in the login. */
  readonly isSignedElsewhere: boolean;
  /** What the VM's socket lists for this connection; undefined for nothing. */
  readonly listed: Buffer | undefined;
  /**
   * The key for a login that is asked for now; undefined where nothing is granted, or no longer. A promise only where
   * a person has to be asked for a passphrase.
   */
  readonly signingKey: SigningKey | undefined | Promise<SigningKey | undefined>;
  readonly refusal: RefusalWords;
  /** The place is known: begins with what takes long and asks no person. @throws MintError */
  begin(): Promise<void>;
  /** Resolves when what was begun is over, well or not. */
  begun(): Promise<void>;
  /** The connection goes to another instance than it did: so does the key. */
  follow(): void;
  /**
   * Resolves once the VM lets the key in, for long enough. @returns milliseconds that AWS took for it, undefined
   * where nothing was asked for this connection @throws MintError
   */
  grant(): Promise<number | undefined>;
  /** Milliseconds from now after which no signature is made any more. */
  readonly remaining: number;
  /** The login is done, or will not be made: no key is kept for it. */
  settle(): void;
  /** The first signature of the connection has gone out. */
  noteLogin(): void;
}
