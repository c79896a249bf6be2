/** A world with a job: an agent that has its key, and a VM that was booted with the user data of `job begin`. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { makeKey } from '../keys/key-lines.ts';
import {
  type Child,
  loginUser,
  makeWorld,
  mintProgram,
  type Result,
  type World,
  type WorldOptions,
} from '../openssh/world.ts';
import { bootJobVm, type JobVm } from './job-vm.ts';

export interface DebugWorld {
  readonly world: World;
  /** The files of the VMs and of the visitor. */
  readonly machines: string;
  /** Begins a job, boots its VM, and sets its address. */
  begin(name: string, ...words: readonly string[]): Promise<JobVm>;
  /** The block that a holder prints as JSON. */
  block(holder: Child): Promise<Block>;
  /** With `--format json`, the visitor's own key and the destruction above, unless `words` override them. */
  open(name: string, project: string, ...words: readonly string[]): Child;
  /** Without waiting for it. */
  start(...words: readonly string[]): Child;
  /** A visitor's own key pair: the path of the private half; `.pub` is beside it. */
  readonly personKey: string;
  /** The command that destroys a VM here: records it, and turns off the machine of that name. */
  readonly destroy: string;
  /** The names of the destroyed VMs, in order. */
  destroyed(): string[];
  /** A visitor's login with the block: plain ssh, with a separate known_hosts file. */
  person(block: Block, command: string): Promise<Result>;
  audit(): Record<string, unknown>[];
  end(): Promise<void>;
}

/** What `--format json` prints. */
export interface Block {
  readonly lease: string;
  readonly known_hosts: string;
  readonly commands: readonly string[];
  readonly host_key_fingerprint: string;
  readonly end_inside: string;
  readonly end_outside: string;
  readonly end_by_aws: string | null;
  readonly ends_at: string;
  readonly armed_by: string;
  readonly private_key: string | null;
}

export async function makeDebugWorld(options: WorldOptions = {}): Promise<DebugWorld> {
  // An unused VM, so that ssh-config writes our Include.
  const world = await makeWorld({ vms: { other: { port: 9 } }, ...options });
  const machines = mkdtempSync('/tmp/md-');
  const vms = new Map<string, JobVm>();
  const person = join(machines, 'person');
  mkdirSync(person, { mode: 0o700 });
  makeKey(person, 'key', '-t', 'ed25519');
  const noted = join(machines, 'destroyed');
  writeFileSync(noted, '');
  const destroy = `printf '%s\\n' "$MINT_VM" >>'${noted}'; '${machines}'/"$MINT_VM/bin/power-off"`;
  return {
    world,
    machines,
    async begin(name, ...words) {
      const begun = await world.mint('job', 'begin', name, '--user', loginUser, ...words);
      if (begun.status !== 0) throw new Error(begun.stderr);
      const vm = await bootJobVm(join(machines, name), begun.stdout);
      vms.set(name, vm);
      const set = await world.mint('job', 'set', name, '--host', '127.0.0.1', '--port', String(vm.port));
      if (set.status !== 0) throw new Error(set.stderr);
      return vm;
    },
    async block(holder) {
      const [line = ''] = await holder.until(/^\{"lease".*\}$/m, 60_000);
      return JSON.parse(line) as Block;
    },
    open(name, project, ...words) {
      const usual = ['--project', project, '--format', 'json', '--destroy', `command:${destroy}`];
      const who = words.includes('--print-key') ? [] : ['--authorize', `${join(person, 'key')}.pub`];
      return world.start(mintProgram, ['debug', 'open', name, ...usual, ...who, ...words], {
        timeout: 90_000,
      });
    },
    start: (...words) => world.start(mintProgram, words, { timeout: 90_000 }),
    personKey: join(person, 'key'),
    destroy: `command:${destroy}`,
    destroyed: () =>
      readFileSync(noted, 'utf8')
        .split('\n')
        .filter((line) => line !== ''),
    async person(block, command) {
      const [known = '', login = ''] = block.commands;
      const key = join(person, 'key');
      if (block.private_key !== null) {
        writeFileSync(join(person, `mint-debug-${block.lease}.key`), block.private_key, { mode: 0o600 });
      }
      const identity = block.private_key === null ? `-i ${key} -o IdentitiesOnly=yes` : '';
      const line = `${known} && ${login.replace(/^ssh /, `ssh -F none -o BatchMode=yes ${identity} `)} "$1"`;
      return await world.run('sh', ['-c', line, 'sh', command], { cwd: person });
    },
    audit: () =>
      (world.file('audit.log') ?? '')
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line) as Record<string, unknown>),
    async end() {
      for (const name of vms.keys()) await world.mint('job', 'end', name);
      try {
        await world.end();
      } finally {
        for (const vm of vms.values()) await vm.end();
        rmSync(machines, { recursive: true, force: true });
      }
    },
  };
}
