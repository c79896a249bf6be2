/** Credentials of a command: it resolves its own, in its own process. */
import { say } from '../cli/terminal.ts';
import type { Caller } from '../platform/caller.ts';
import { Aws, type CredentialSource } from './aws.ts';
import { filesStamp, type Interaction, isAtHand, resolveCredentials } from './credentials.ts';
import type { Credentials, Target } from './requests.ts';
import { announceResolved } from './resolved.ts';

/** AWS for this process, which must be the caller itself. Close it at the end. */
export function ownAws(): Aws {
  return new Aws(new OwnCredentials());
}

/** A command that runs for long resolves its credentials again before they expire. */
const renewBeforeMs = 60_000;

class OwnCredentials implements CredentialSource {
  /** By explicit profile: each is resolved once, however many calls wait for it. */
  readonly #resolving = new Map<string | undefined, Promise<Credentials>>();
  readonly #current = new Map<string | undefined, Credentials>();

  get(_caller: Caller, _configuration: unknown, { profile: explicit, region }: Target): Promise<Credentials> {
    const found = this.#resolving.get(explicit);
    const { expiresAt = Number.POSITIVE_INFINITY } = this.#current.get(explicit) ?? {};
    if (found !== undefined && expiresAt - Date.now() > renewBeforeMs) return found;
    const resolving = resolveAndShare({ profile: explicit, region });
    this.#current.delete(explicit);
    this.#resolving.set(explicit, resolving);
    resolving.then(
      (credentials) => this.#current.set(explicit, credentials),
      () => this.#resolving.delete(explicit),
    );
    return resolving;
  }

  current(_caller: Caller, explicit: string | undefined): Credentials | undefined {
    return this.#current.get(explicit);
  }

  forget(credentials: Credentials): void {
    for (const [explicit, known] of this.#current) {
      if (known !== credentials) continue;
      this.#current.delete(explicit);
      this.#resolving.delete(explicit);
    }
  }

  scope(): string {
    return '';
  }
}

/** Shares what a process or a request returned; keys in the environment or in a file are at the agent's hand, too. */
async function resolveAndShare(target: Target): Promise<Credentials> {
  const stamp = filesStamp(process.env);
  const credentials = await resolveCredentials(target, terminalInteraction(say));
  if (!isAtHand(credentials.source)) await announceResolved({ credentials, explicit: target.profile, stamp });
  return credentials;
}

/**
 * Asks for MFA codes on the terminal, else through SSH_ASKPASS.
 * @param signal withdraws a question
 */
export function terminalInteraction(tell: (line: string) => void, signal?: AbortSignal): Interaction {
  return {
    tell,
    async askCode(prompt) {
      const { askSecret } = await import('../cli/secret.ts');
      const answer = await askSecret(prompt, process.env, signal === undefined ? {} : { signal });
      return typeof answer === 'string' ? undefined : answer.text.trim();
    },
  };
}
