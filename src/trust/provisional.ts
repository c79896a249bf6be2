/** Provisional keys: new keys that open connections hold until the server has proved that it owns them. */
import type { HostKey } from '../ssh/hostkey.ts';
import type { ConsoleBlock, Evidence, Sighting } from './pin.ts';

/** A provisional key of one connection. */
export interface Provisional {
  /**
   * The server has proved that it owns the key: trusts it from now on. Doing it again does nothing.
   * @throws MintError `host-key-changed` when another key was pinned meanwhile; those of writing
   */
  pin(): void;
  /** The connection has ended. After the last one the key is removed, unless it was pinned. */
  release(): void;
}

/** The evidence for a key, with the console block that lists it if that is the evidence. */
export interface Grounds {
  readonly evidence: Evidence;
  readonly block?: ConsoleBlock | undefined;
}

interface Held {
  readonly sighting: Sighting;
  grounds: Grounds;
  connections: number;
  isOver: boolean;
}

export interface ProvisionalActions {
  readonly pin: (sighting: Sighting, grounds: Grounds) => void;
  readonly remove: (sighting: Sighting) => void;
}

/** The provisional keys of this process: at most one of each type for a VM, with a count of its connections. */
export class ProvisionalKeys {
  readonly #held = new Map<string, Held>();
  readonly #actions: ProvisionalActions;

  constructor(actions: ProvisionalActions) {
    this.#actions = actions;
  }

  of(vm: string): { readonly key: HostKey; readonly evidence: Evidence }[] {
    return [...this.#held.values()]
      .filter(({ sighting }) => sighting.vm === vm)
      .map(({ sighting, grounds: { evidence } }) => ({ key: sighting.key, evidence }));
  }

  /** Adds a connection with this key. The caller has checked that no other key of its type is held. */
  hold(sighting: Sighting, grounds: Grounds): Provisional {
    const name = nameOf(sighting);
    const held = this.#held.get(name) ?? { sighting, grounds, connections: 0, isOver: false };
    if (grounds.evidence === 'console') held.grounds = grounds;
    this.#held.set(name, held);
    held.connections += 1;
    let isReleased = false;
    return {
      pin: () => {
        if (held.isOver) return;
        this.#actions.pin(sighting, held.grounds);
        this.#end(held);
      },
      release: () => {
        if (isReleased) return;
        isReleased = true;
        held.connections -= 1;
        if (held.connections > 0 || held.isOver) return;
        this.#end(held);
        this.#actions.remove(held.sighting);
      },
    };
  }

  /** Removes a key that was pinned in another way. */
  settle(vm: string, key: HostKey): void {
    const held = this.#held.get(nameOf({ vm, key }));
    if (held?.sighting.key.blob.equals(key.blob)) this.#end(held);
  }

  #end(held: Held): void {
    held.isOver = true;
    const name = nameOf(held.sighting);
    if (this.#held.get(name) === held) this.#held.delete(name);
  }
}

function nameOf({ vm, key }: Sighting): string {
  return `${vm} ${key.type}`;
}
