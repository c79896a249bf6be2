/**
 * Which tests run when. `npm test` (and `npm cit`) runs the quick tier, `npm run test:all` every tier in turn.
 *
 * A new file is in the quick tier. Add it to a table below where it takes more than 20 s alone, needs a platform that is
 * emulated, or shows something that README does not promise.
 */
import { matchesGlob } from 'node:path';

/** Packaging, other platforms, other clients, long waits, crowds, crashes at each step, every key format. */
const slow: readonly string[] = [
  'test/agent/run-directory.test.ts',
  'test/aws/{clock,ec2,moto,unreachable}.test.ts',
  'test/ci/{destruction,ends,hostile-words,interruptions,job-run,killed-destruction}.test.ts',
  'test/ci/{recipes,refusals,store-faults,table}.test.ts',
  'test/cli/completion.test.ts',
  'test/cloud/cloud.test.ts',
  'test/clients/{ansible,login-unit,multiplex,other-ssh,registries,second-factor,sshfs}.test.ts',
  'test/commands/surroundings.test.ts',
  'test/doctor/{discovered,ssh-config}.test.ts',
  'test/fuzz/{promises,properties}.test.ts',
  'test/keys/public-key.test.ts',
  'test/keys/store/{crowd,doctor,formats,interruption,other-programs,rejected,share}.test.ts',
  'test/keys/vm/{accounts,ec2-key-pairs,interruption,launched,meanwhile,migrate,rotate,unasked-signatures}.test.ts',
  'test/openssh/{agent-life,agent-version,clocks,credentials,descriptors,discovery,flood,long-session,mosh,parallel}.test.ts',
  'test/openssh/{push-life,secrets,silent-agent,slow-ends,strain,told-in-time,tunnel}.test.ts',
  'test/openssh/{unanswered,unlocked-key,world}.test.ts',
  'test/package/**',
  'test/first-day/**',
  'test/platform/windows-quoting.test.ts',
  'test/run.test.ts',
  'test/trust/interruption.test.ts',
];

/** Files that measure, or that load the machine: each runs alone. */
const alone: readonly string[] = ['test/bench/**', 'test/soak/**', 'test/trust/writers.test.ts'];

export const tiers = ['quick', 'slow', 'alone'] as const;
export type Tier = (typeof tiers)[number];

/** @param file relative to the checkout, with slashes */
export function tierOf(file: string): Tier {
  const isIn = (table: readonly string[]) => table.some((pattern) => matchesGlob(file, pattern));
  return isIn(alone) ? 'alone' : isIn(slow) ? 'slow' : 'quick';
}
