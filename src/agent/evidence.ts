/** Asks AWS about a host key, within a time limit. A reply that comes too late counts as silence, not as an error. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Aws } from '../aws/aws.ts';
import { MintError } from '../errors.ts';
import type { Caller } from '../platform/caller.ts';
import type { HostKey } from '../ssh/hostkey.ts';
import { type ChangeEvidence, findingOf, type InstanceFacts } from '../trust/changed-key.ts';
import { readConsoleKeys } from '../trust/console-host-keys.ts';
import type { ConsoleAnswer } from '../trust/decide.ts';
import type { Pin } from '../trust/store.ts';

/** The credentials and the region to use. */
export interface Asker {
  readonly aws: Aws;
  readonly caller: Caller;
  readonly region: string | undefined;
  readonly profile: string | undefined;
}

export interface ConsoleView {
  readonly answer: ConsoleAnswer;
  /** The output begins at the boot, so that nothing earlier is missing. */
  readonly startsAtBoot: boolean;
}

/** Waits for the credentials, because the login does so too; the time limits begin after that. Never rejects. */
async function credentialsKnown({ aws, caller, region, profile }: Asker): Promise<void> {
  await aws.ready(caller, { region, profile }).catch(() => {});
}

/** The host keys that the console of an instance shows. Never rejects. */
export async function askConsole(asker: Asker, instance: string, limitMs: number): Promise<ConsoleView> {
  await credentialsKnown(asker);
  const { aws, caller, region, profile } = asker;
  const silent = (why: string): ConsoleView => ({ answer: { kind: 'silent', why }, startsAtBoot: false });
  const view = aws.consoleOutput(caller, { region, profile, instanceId: instance }).then(
    ({ text }): ConsoleView => {
      const { keys, isWhole, startsAtBoot } = readConsoleKeys(text);
      if (keys.length === 0) return silent('the console output shows no host keys, at least not yet');
      return { answer: { kind: 'block', block: { instance, keys, isWhole } }, startsAtBoot };
    },
    (error: unknown) => silent(`AWS did not show the console output: ${describeError(error)}`),
  );
  return withinLimit(view, limitMs, silent('AWS did not show the console output in time'));
}

/**
 * Never rejects.
 * @returns what AWS knows about an instance; undefined if it did not reply in time
 */
export async function askInstance(
  asker: Asker,
  instance: string,
  limitMs: number,
): Promise<InstanceFacts | undefined> {
  return (await describe(asker, [instance], limitMs))?.get(instance)?.facts;
}

/**
 * Collects what AWS says about a changed key. Never rejects.
 * @param limitMs for all requests together
 */
export async function gatherEvidence(
  asker: Asker,
  pinned: Pin,
  instance: string,
  key: HostKey,
  limitMs: number,
): Promise<ChangeEvidence> {
  const { aws, caller, region, profile } = asker;
  await credentialsKnown(asker);
  const known = [...new Set([instance, pinned.instance ?? instance])];
  const identity = aws.identity(caller, { region, profile }).then(
    ({ owner }) => owner,
    () => undefined,
  );
  const [console, described, callersOwner] = await Promise.all([
    askConsole(asker, instance, limitMs),
    describe(asker, known, limitMs),
    withinLimit(identity, limitMs, undefined),
  ]);
  return {
    console: findingOf(console.answer, key, console.startsAtBoot),
    current: described?.get(instance)?.facts,
    oldIsGone: described === undefined ? undefined : isGone(described.get(pinned.instance ?? '')?.state),
    callersOwner,
  };
}

/** AWS forgets a terminated instance within the hour, so one that it does not list is gone as well. */
function isGone(state: string | undefined): boolean {
  return state === undefined || state === 'terminated' || state === 'shutting-down';
}

interface Described {
  readonly facts: InstanceFacts;
  readonly state: string;
}

/** Asks for each instance separately: for a list with one unknown id AWS returns an error for all of them. */
async function describe(
  asker: Asker,
  instances: readonly string[],
  limitMs: number,
): Promise<Map<string, Described> | undefined> {
  const { aws, caller, region, profile } = asker;
  const answers = instances.map((id) =>
    aws.describeVms(caller, { region, profile, ids: [id] }).catch((error: unknown) => {
      if (error instanceof MintError && error.code === 'vm-not-found') return [];
      throw error;
    }),
  );
  const all = Promise.all(answers).then(
    (lists) => lists.flat(),
    () => undefined,
  );
  const vms = await withinLimit(all, limitMs, undefined);
  if (vms === undefined) return undefined;
  return new Map(
    vms.map((vm) => [
      vm.instanceId,
      {
        state: vm.state,
        facts: {
          instance: vm.instanceId,
          account: vm.account,
          region: vm.region,
          owner: vm.owner,
          launchedAt: vm.launchTime,
        },
      },
    ]),
  );
}

function withinLimit<T>(answer: Promise<T>, limitMs: number, otherwise: T): Promise<T> {
  return Promise.race([answer, sleep(limitMs, otherwise, { ref: false })]);
}

function describeError(error: unknown): string {
  return error instanceof MintError ? `${error.message} (${error.code})` : String(error);
}
