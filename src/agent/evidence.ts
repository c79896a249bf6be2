/** Asks AWS about a host key, within a time limit; what does not come in time is silence, not an error. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { AwsWorkers, Caller } from '../aws/workers.ts';
import { MintError } from '../errors.ts';
import type { HostKey } from '../ssh/hostkey.ts';
import { readConsoleKeys } from '../trust/console-host-keys.ts';
import {
  type ConsoleFinding,
  type ConsoleKeys,
  type Evidence,
  findInConsole,
  type InstanceFacts,
} from '../trust/evidence.ts';
import type { Pin } from '../trust/store.ts';

/** Whose credentials, and where. */
export interface Asker {
  readonly aws: AwsWorkers;
  readonly caller: Caller;
  readonly region: string | undefined;
  readonly profile: string | undefined;
}

/** What the console of an instance says of a key. Never rejects. @param limit milliseconds */
export async function askConsole(
  asker: Asker,
  instance: string,
  key: HostKey,
  limit: number,
): Promise<ConsoleFinding> {
  const { aws, caller, region, profile } = asker;
  const finding = aws.consoleOutput(caller, { region, profile, instanceId: instance }).then(
    ({ text }) => findInConsole(shownBy(text), key),
    (error: unknown): ConsoleFinding => ({
      kind: 'silent',
      why: `AWS did not show the console output: ${words(error)}`,
    }),
  );
  return withinLimit(finding, limit, { kind: 'silent', why: 'AWS did not show the console output in time' });
}

function shownBy(console: string): ConsoleKeys {
  const { keys, fingerprints, startsAtBoot } = readConsoleKeys(console);
  return { keys: [...keys, ...fingerprints], startsAtBoot };
}

/** What AWS knows of an instance; undefined where it did not say. Never rejects. @param limit milliseconds */
export async function askInstance(
  asker: Asker,
  instance: string,
  limit: number,
): Promise<InstanceFacts | undefined> {
  return (await describe(asker, [instance], limit))?.get(instance)?.facts;
}

/** Everything AWS says about a changed key. Never rejects. @param limit milliseconds for all of it */
export async function gatherEvidence(
  asker: Asker,
  pinned: Pin,
  instance: string,
  key: HostKey,
  limit: number,
): Promise<Evidence> {
  const { aws, caller, region, profile } = asker;
  const known = [...new Set([instance, pinned.instance ?? instance])];
  const identity = aws.identity(caller, { region, profile }).then(
    ({ owner }) => owner,
    () => undefined,
  );
  const [console, described, callersOwner] = await Promise.all([
    askConsole(asker, instance, key, limit),
    describe(asker, known, limit),
    withinLimit(identity, limit, undefined),
  ]);
  return {
    console,
    current: described?.get(instance)?.facts,
    oldIsGone: described === undefined ? undefined : isGone(described.get(pinned.instance ?? '')?.state),
    callersOwner,
  };
}

/** AWS forgets a terminated instance within the hour: one it does not list is gone as well. */
function isGone(state: string | undefined): boolean {
  return state === undefined || state === 'terminated' || state === 'shutting-down';
}

interface Described {
  readonly facts: InstanceFacts;
  readonly state: string;
}

/** One by one: AWS answers a list with an id it does not know by an error for all of them. */
async function describe(
  asker: Asker,
  instances: readonly string[],
  limit: number,
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
  const vms = await withinLimit(all, limit, undefined);
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

function withinLimit<T>(answer: Promise<T>, limit: number, otherwise: T): Promise<T> {
  return Promise.race([answer, sleep(limit, otherwise, { ref: false })]);
}

function words(error: unknown): string {
  return error instanceof MintError ? `${error.message} (${error.code})` : String(error);
}
