/** The scenes of the demo, in order. A scene throws if mint-ssh did not do what the scene describes. */
import { print, printable } from '../cli/terminal.ts';
import { MintError } from '../errors.ts';
import type { Outcome, Stage } from './stage.ts';

export interface Scene {
  readonly title: string;
  readonly play: (stage: Stage) => Promise<void>;
}

export const scenes: readonly Scene[] = [
  { title: 'First login: no key exists, no host is known, no agent runs', play: firstLogin },
  { title: 'Second login: the key is still warm', play: secondLogin },
  { title: 'The host key changed unexpectedly', play: changedKey },
  { title: 'You replaced that key on the VM yourself: accept the new one', play: acceptedKey },
];

async function firstLogin(stage: Stage): Promise<void> {
  const outcome = await login(stage, 'dev');
  const { dev } = stage.hosts;
  expect(stage.cloud.pushes.length === 1, 'one key was pushed');
  expect(stage.knownHosts().includes(`dev=${dev.fingerprint}`), 'the host key was pinned');
  print(`   A key was made in memory and pushed for 60 s while the connection was being made; the host
   proved that it owns ${dev.fingerprint}, which is pinned from now on.`);
  conclude(outcome);
}

async function secondLogin(stage: Stage): Promise<void> {
  const outcome = await login(stage, 'dev');
  expect(stage.cloud.pushes.length === 1, 'no second key was pushed');
  print('   The host key matched, and no call to AWS was needed.');
  conclude(outcome);
}

async function changedKey(stage: Stage): Promise<void> {
  const { dev } = stage.hosts;
  const before = { known: stage.knownHosts(), attempts: dev.counts.attempts };
  dev.recreate();
  const outcome = await ssh(stage, 'dev');
  expect(outcome.status === 255, 'ssh ended with status 255');
  expect(outcome.stderr.includes(dev.fingerprint), 'the warning names the new key');
  expect(dev.counts.attempts === before.attempts, 'nothing was authenticated');
  expect(stage.knownHosts() === before.known, 'what was trusted stays as it was');
  print(`   Blocked before anything was authenticated: that host got no user name, no key, no signature.

`);
}

async function acceptedKey(stage: Stage): Promise<void> {
  const { fingerprint } = stage.hosts.dev;
  print(`   $ mint-ssh hosts accept dev ${fingerprint}`);
  const accepted = await stage.mint('hosts', 'accept', 'dev', fingerprint);
  showLines(accepted.stderr);
  expect(accepted.status === 0, '`hosts accept` ended with status 0');
  const outcome = await login(stage, 'dev');
  print('   The login works again. None of this affected the other VM:');
  const other = await login(stage, 'build');
  conclude(outcome, other);
}

async function login(stage: Stage, vm: string): Promise<Outcome> {
  const outcome = await ssh(stage, vm);
  expect(
    outcome.status === 0 && outcome.stdout === `${vm}\n`,
    `ssh logged in to ${vm} (status ${outcome.status})`,
  );
  return outcome;
}

async function ssh(stage: Stage, vm: string): Promise<Outcome> {
  print(`   $ ssh ${vm} hostname`);
  const outcome = await stage.ssh(vm, 'hostname');
  showLines(outcome.stderr);
  showLines(outcome.stdout);
  return outcome;
}

function conclude(...outcomes: readonly Outcome[]): void {
  const times = outcomes.map(({ milliseconds }) => `${milliseconds.toFixed(0)} ms`);
  print(`   ✓ ${times.join(' and ')} from ssh's start to its end\n\n`);
}

function showLines(text: string): void {
  const lines = text.split(/\r?\n/).filter((line) => line !== '');
  for (const line of lines) print(`   │ ${printable(line)}`);
}

function expect(holds: boolean, what: string): void {
  if (holds) return;
  throw new MintError('io-failed', `demo check failed: expected that ${what}`, {
    hint: 'see the output of ssh above; please report this',
  });
}
