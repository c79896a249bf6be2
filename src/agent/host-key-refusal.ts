/** The host keys that are refused without a question, as errors for the user. */
import { MintError } from '../errors.ts';
import { closest } from '../trust/changed-key.ts';
import { type Refused, typeOf } from '../trust/decide.ts';
import { mintType } from '../trust/pin.ts';
import type { Sighting } from '../trust/store.ts';
import { contradictedPinWarning, refusedBeforeWarning, unverifiedKeyWarning } from '../trust/warning.ts';

/** A key that is refused, with a warning of several lines to be shown before the error. */
export class HostKeyRefusal extends MintError {
  readonly warning: string | undefined;
  readonly event: 'host-key-changed' | 'host-key-unverified';

  constructor(
    code: 'host-key-changed' | 'host-key-unverified',
    message: string,
    hint: string,
    warning?: string,
  ) {
    super(code, message, { hint });
    this.event = code;
    this.warning = warning;
  }
}

/** @returns the error for a key that `decide` refuses */
export function refusalOf({ vm, key }: Sighting, decision: Refused): MintError {
  const accept = `mint-ssh hosts accept ${vm} ${key.fingerprint}`;
  switch (decision.outcome) {
    case 'unverified':
      return new HostKeyRefusal(
        'host-key-unverified',
        `the host key of ${vm} is not one that AWS shows`,
        `if you know why: ${accept}`,
        unverifiedKeyWarning(vm, key, decision.shown),
      );
    case 'contradicted': {
      const own = closest(decision.shown, key.type)?.fingerprint ?? 'FINGERPRINT';
      return new HostKeyRefusal(
        'host-key-unverified',
        `the pinned host key of ${vm} is not one that AWS shows`,
        `to trust the key that AWS shows: mint-ssh hosts accept ${vm} ${own}`,
        contradictedPinWarning(vm, decision.pin, key, decision.shown),
      );
    }
    case 'refused-before':
      return new HostKeyRefusal(
        decision.refusal.reason === 'unverified' ? 'host-key-unverified' : 'host-key-changed',
        `this host key of ${vm} was refused before and has not been accepted since`,
        `if it is the VM's own key: ${accept}`,
        refusedBeforeWarning(vm, decision.refusal),
      );
    case 'type-not-pinned': {
      const pinned = [...new Set(decision.pins.map(typeOf))].join(', ');
      const learn = pinned.includes(mintType)
        ? `run \`ssh ${vm} true\` once, in which the VM proves its other keys; or `
        : '';
      return new MintError(
        'host-key-type',
        `the server of ${vm} presents its ${key.type} host key, and only its ${pinned} key is known (${decision.why})`,
        { hint: `${learn}compare the key with the VM's and run: ${accept}` },
      );
    }
  }
}
