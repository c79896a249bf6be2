/** The scenes of the demo, in order. A scene throws if mint-ssh did not do what the scene describes. */
import { painter, paintFrame } from '../cli/colour.ts';
import { print, printable } from '../cli/terminal.ts';
import { wrap } from '../cli/wrap.ts';
import { MintError } from '../errors.ts';
import type { Outcome, Stage } from './stage.ts';

export interface Scene {
  readonly title: string;
  readonly play: (stage: Stage) => Promise<void>;
}

export const scenes: readonly Scene[] = [
  { title: 'First login: no key exists, no host is known, no agent runs', play: firstLogin },
  { title: 'Second login: the key is still valid', play: secondLogin },
  { title: 'The host key changed unexpectedly', play: changedKey },
  { title: 'You replaced that key on the VM yourself: accept the new one', play: acceptedKey },
];

async function firstLogin(stage: Stage): Promise<void> {
  const outcome = await login(stage, 'dev');
  const { dev } = stage.hosts;
  expect(stage.cloud.pushes.length === 1, 'one key was pushed');
  expect(stage.knownHosts().includes(`dev=${dev.fingerprint}`), 'the host key was pinned');
  print(`  mint-ssh made a key in memory and pushed it for 60 s while it connected.
  The host proved that it owns its key, which is pinned from now on:
  ${dev.fingerprint}`);
  conclude(outcome);
}

async function secondLogin(stage: Stage): Promise<void> {
  const outcome = await login(stage, 'dev');
  expect(stage.cloud.pushes.length === 1, 'no second key was pushed');
  print('  The host key is the pinned one, and no call to AWS was needed.');
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
  print(`  Blocked before authentication: that host got no user name, key or signature.

`);
}

async function acceptedKey(stage: Stage): Promise<void> {
  const { fingerprint } = stage.hosts.dev;
  showCommand(`mint-ssh hosts accept dev ${fingerprint}`);
  const accepted = await stage.mint('hosts', 'accept', 'dev', fingerprint);
  showLines(accepted.stderr);
  expect(accepted.status === 0, '`hosts accept` ended with status 0');
  const outcome = await login(stage, 'dev');
  print('  Logged in again. The other VM was not affected:');
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
  showCommand(`ssh ${vm} hostname`);
  const outcome = await stage.ssh(vm, 'hostname');
  showLines(outcome.stderr);
  showLines(outcome.stdout);
  return outcome;
}

function conclude(...outcomes: readonly Outcome[]): void {
  const times = outcomes.map(({ milliseconds }) => `${milliseconds.toFixed(0)} ms`);
  const check = painter()('green', '✓');
  print(`  ${check} ${times.join(' and ')} from ssh's start to its end\n\n`);
}

function showCommand(line: string): void {
  print(`  ${painter()('bold', `$ ${line}`)}`);
}

/** The bar and a blank leave 78 columns of 80: our warnings fit, and longer lines are broken. */
const maxColumns = 78;

function showLines(text: string): void {
  const lines = text.split(/\r?\n/).filter((line) => line !== '');
  const paint = painter();
  const isPainted = paint('red', '') !== '';
  const shown = lines
    .map(printable)
    .flatMap((line) => (line.length > maxColumns ? wrap(line, maxColumns) : line));
  for (const line of isPainted ? paintFrame(shown) : shown) print(`${paint('dim', '│')} ${line}`);
}

function expect(holds: boolean, what: string): void {
  if (holds) return;
  throw new MintError('io-failed', `demo check failed: expected that ${what}`, {
    hint: 'see the output of ssh above; please report this',
  });
}
