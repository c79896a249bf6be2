import type { Proof, Sighting } from './pin.ts';

/** A first key as one connection holds it, until something has proven that the server owns the key. */
export interface Provisional {
  /**
   * Trusts the key for good: known_hosts line, record and derived file. Doing it again does nothing.
   * @throws MintError `host-key-changed` when another key was pinned meanwhile; those of writing
   */
  pin(proof: Proof): void;
  /** The connection ended. When it is the last one and nothing was pinned, nothing stays. */
  release(): void;
}

interface Standing {
  readonly sighting: Sighting;
  connections: number;
  pinned: boolean;
}

export interface StandingActions {
  readonly pin: (sighting: Sighting, proof: Proof) => void;
  readonly remove: (sighting: Sighting) => void;
}

/** The provisional keys of this process: one for each VM at a time, counted by its connections. */
export class ProvisionalKeys {
  readonly #standing = new Map<string, Standing>();
  readonly #actions: StandingActions;

  constructor(actions: StandingActions) {
    this.#actions = actions;
  }

  of(vm: string): Sighting | undefined {
    return this.#standing.get(vm)?.sighting;
  }

  /** Counts one more connection with the VM's provisional key, which the sighting's key becomes or is. */
  hold(sighting: Sighting): Provisional {
    const standing = this.#standing.get(sighting.vm) ?? { sighting, connections: 0, pinned: false };
    this.#standing.set(sighting.vm, standing);
    standing.connections += 1;
    let held = true;
    return {
      pin: (proof) => {
        if (standing.pinned) return;
        this.#actions.pin(sighting, proof);
        this.#end(standing);
      },
      release: () => {
        if (!held) return;
        held = false;
        standing.connections -= 1;
        if (standing.connections > 0 || standing.pinned) return;
        this.#end(standing);
        this.#actions.remove(standing.sighting);
      },
    };
  }

  /** The VM's key was pinned by someone else: what stands is no longer provisional. */
  settle(vm: string): void {
    const standing = this.#standing.get(vm);
    if (standing !== undefined) this.#end(standing);
  }

  #end(standing: Standing): void {
    standing.pinned = true;
    if (this.#standing.get(standing.sighting.vm) === standing) this.#standing.delete(standing.sighting.vm);
  }
}
