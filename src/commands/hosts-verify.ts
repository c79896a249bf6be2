/** `mint-ssh hosts verify`: holds pinned keys against what AWS shows, now. */
import { type Asker, askConsole, askInstance } from '../agent/evidence.ts';
import { AwsWorkers } from '../aws/workers.ts';
import type { Invocation } from '../cli/command.ts';
import { print, say } from '../cli/terminal.ts';
import { MintError } from '../errors.ts';
import { callerEnvironment } from '../platform/environment.ts';
import type { Paths } from '../platform/paths.ts';
import { loadSettings } from '../settings/settings.ts';
import type { ConsoleFinding } from '../trust/evidence.ts';
import type { TrustStore } from '../trust/store.ts';

/** In milliseconds, for each VM. */
const limit = 10_000;

interface Verified {
  readonly vm: string;
  readonly finding: ConsoleFinding;
}

/**
 * Verifies one VM, or every pinned one.
 * @returns the exit status: 3 where AWS shows another key than a pinned one
 * @throws MintError `vm-not-found` where a named VM has no pinned key to compare
 */
export async function verify(
  paths: Paths,
  store: TrustStore,
  name: string | undefined,
  json: boolean,
  { profile, region }: Invocation['globals'],
): Promise<number> {
  const pinned = store.list().filter(({ vm, pin }) => pin?.key !== undefined && (name ?? vm) === vm);
  if (name !== undefined && pinned.length === 0) {
    throw new MintError('vm-not-found', `no key of ${name} has been seen that could be verified`, {
      hint: 'connect to it once, then verify',
    });
  }
  const settings = loadSettings(paths, { profile, region });
  const aws = new AwsWorkers();
  try {
    const caller = { environment: callerEnvironment(process.env) };
    const verified: Verified[] = [];
    for (const { vm, pin } of pinned) {
      if (pin?.key === undefined) continue;
      const own = settings.vm(vm);
      const instance = own?.instance ?? pin.instance;
      const asker: Asker = {
        aws,
        caller,
        region: own?.region ?? pin.region ?? region,
        profile: own?.profile ?? profile,
      };
      if (instance === undefined) {
        verified.push({
          vm,
          finding: { kind: 'silent', why: 'on which instance it was pinned is not known' },
        });
        continue;
      }
      const [finding, place] = await Promise.all([
        askConsole(asker, instance, pin.key, limit),
        askInstance(asker, instance, limit),
      ]);
      store.learn(vm, pin.fingerprint, finding, { instance, account: place?.account, region: place?.region });
      verified.push({ vm, finding });
    }
    report(verified, json);
    return verified.some(({ finding }) => finding.kind === 'differs') ? 3 : 0;
  } finally {
    await aws.close();
  }
}

function report(verified: readonly Verified[], json: boolean): void {
  if (json) {
    const rows = verified.map(({ vm, finding }) => ({
      vm,
      console: finding.kind,
      console_shows: finding.kind === 'differs' ? finding.fingerprint : null,
      why: finding.kind === 'silent' ? finding.why : null,
    }));
    print(JSON.stringify(rows, undefined, 2));
    return;
  }
  if (verified.length === 0) say('no host key is pinned yet');
  for (const { vm, finding } of verified) print(`${vm}: ${words(finding)}`);
}

function words(finding: ConsoleFinding): string {
  if (finding.kind === 'shown') return 'verified: AWS shows this key';
  if (finding.kind === 'silent') return `not verified: ${finding.why}`;
  return `NOT the key that AWS shows, which is ${finding.fingerprint}`;
}
