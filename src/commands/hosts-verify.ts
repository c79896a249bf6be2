/** `mint-ssh hosts verify`: compares pinned keys with what AWS shows now. */
import { type Asker, askConsole, askInstance } from '../agent/evidence.ts';
import { ownAws } from '../aws/own-credentials.ts';
import type { Invocation } from '../cli/command.ts';
import { print, printable, printJson, say } from '../cli/terminal.ts';
import { MintError } from '../errors.ts';
import { thisCaller } from '../platform/caller.ts';
import type { Paths } from '../platform/paths.ts';
import { loadSettings } from '../settings/settings.ts';
import { closest } from '../trust/changed-key.ts';
import { type ConsoleAnswer, lookUp, typeOf } from '../trust/decide.ts';
import type { ConsoleKey, Pin } from '../trust/pin.ts';
import type { TrustStore } from '../trust/store.ts';

/** The outcome for one VM. */
const limitMs = 10_000;

interface Verified {
  readonly vm: string;
  readonly pin: Pin;
  /** `proved`: not printed at the first boot, but a host with a key that was trusted proved that it owns it. */
  readonly finding: 'shown' | 'proved' | 'differs' | 'silent';
  readonly why?: string | undefined;
  readonly shown?: ConsoleKey | undefined;
}

/**
 * Verifies every pinned key of one VM, or of all.
 *
 * @returns the exit status: 3 if AWS shows another key than a pinned one
 * @throws MintError `vm-not-found` if a named VM has no pinned key
 */
export async function verify(
  paths: Paths,
  store: TrustStore,
  name: string | undefined,
  json: boolean,
  { profile, region }: Invocation['globals'],
): Promise<number> {
  const entries = store.list().filter(({ vm, pins }) => pins.length > 0 && (name ?? vm) === vm);
  if (name !== undefined && entries.length === 0) {
    throw new MintError('vm-not-found', `no host key of ${name} is pinned`, {
      hint: 'connect to it once, then verify',
    });
  }
  const settings = loadSettings(paths, { profile, region });
  const aws = ownAws();
  try {
    const caller = thisCaller();
    const verified: Verified[] = [];
    for (const { vm, pins, pin } of entries) {
      const own = settings.vm(vm);
      const instance = own?.instance ?? pin?.instance;
      const asker: Asker = {
        aws,
        caller,
        region: own?.region ?? pin?.region ?? region,
        profile: own?.profile ?? profile,
      };
      if (instance === undefined) {
        const why = 'the instance that it was pinned on is not known';
        verified.push(...pins.map((one) => ({ vm, pin: one, finding: 'silent' as const, why })));
        continue;
      }
      const [{ answer }, facts] = await Promise.all([
        askConsole(asker, instance, limitMs),
        askInstance(asker, instance, limitMs),
      ]);
      if (answer.kind === 'block') {
        store.learn(vm, answer.block, { instance, account: facts?.account, region: facts?.region });
      }
      verified.push(...pins.map((one) => verifyPin(vm, one, answer)));
    }
    report(verified, json);
    return verified.some(({ finding }) => finding === 'differs') ? 3 : 0;
  } finally {
    await aws.close();
  }
}

function verifyPin(vm: string, pin: Pin, answer: ConsoleAnswer): Verified {
  if (answer.kind !== 'block') {
    return { vm, pin, finding: 'silent', why: answer.kind === 'silent' ? answer.why : undefined };
  }
  const found = lookUp(answer.block, { fingerprint: pin.fingerprint, type: typeOf(pin) });
  if (found.kind === 'listed') return { vm, pin, finding: 'shown' };
  if (found.kind === 'silent') return { vm, pin, finding: 'silent', why: found.why };
  if (pin.evidence === 'proved') return { vm, pin, finding: 'proved' };
  return { vm, pin, finding: 'differs', shown: closest(answer.block.keys, typeOf(pin)) };
}

function report(verified: readonly Verified[], json: boolean): void {
  if (json) {
    const rows = verified.map(({ vm, pin, finding, shown, why }) => ({
      vm,
      fingerprint: pin.fingerprint,
      type: pin.type ?? null,
      console: finding,
      console_fingerprint: shown?.fingerprint ?? null,
      problem: why ?? null,
    }));
    printJson(rows);
    return;
  }
  if (verified.length === 0) say('no host key is pinned yet');
  for (const one of verified) print(`${one.vm}: ${words(one)}`);
}

function words({ pin, finding, shown, why }: Verified): string {
  const key = `${pin.type === undefined ? '' : `${printable(pin.type)} `}${printable(pin.fingerprint)}`;
  switch (finding) {
    case 'shown':
      return `verified: AWS shows this key (${key})`;
    case 'proved':
      return `proved by the VM with a trusted key, and newer than the console output (${key})`;
    case 'silent':
      return `not verified: ${why ?? 'AWS says nothing'} (${key})`;
    case 'differs':
      return `NOT a key that AWS shows, which is ${shown?.fingerprint ?? 'another one'} (${key})`;
  }
}
