/** VMs that are stopped: started where the person, or ssh.toml, says so, and waited for until sshd answers. */

import net from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Aws } from '../aws/aws.ts';
import { command } from '../cli/shell-command.ts';
import { printable } from '../cli/terminal.ts';
import { MintError } from '../errors.ts';
import type { Caller } from '../platform/caller.ts';
import type { VmSettings } from '../settings/settings.ts';
import { candidatesFor, isDirect } from '../vms/candidates.ts';
import type { LocatedVm } from '../vms/located-vm.ts';
import { isDefinite, type Names, type Wanted } from '../vms/names.ts';
import type { Log } from './log.ts';
import { type AskPerson, Questions } from './questions.ts';

/** From the decision to sshd's first line, in milliseconds. */
const startLimit = 4 * 60_000;
/** Between two questions to EC2, and between two attempts to reach sshd, in milliseconds. */
const pollPause = 1500;
/** Between two lines about how far it is, in milliseconds: an ssh that hears nothing looks dead. */
const tellPause = 5000;
/** Where an endpoint may lead to the VM, it may be that nobody answers here: for so long that is waited for. */
const blindLimit = 20_000;
/** sshd says its banner at once; what does not within this time, in milliseconds, is not up yet. */
const bannerLimit = 3000;
/**
 * Editors give up before a VM has booted (VS Code after 15 s by default). The agent goes on with the start, and
 * the next connection joins it.
 */
const startAdvice = '; if the client gives up first, connect again in about 20 s';
/** Less than the 45 s after which keep-alives end a waiting ssh. */
const answerSeconds = 40;

export interface Start {
  readonly settings: VmSettings;
  readonly port: number;
  readonly caller: Caller;
  readonly wanted: Wanted;
  readonly ask: AskPerson;
  readonly tell: (line: string) => void;
}

interface Rising {
  readonly up: Promise<LocatedVm>;
  /** What the last line said. */
  stage: string;
  readonly since: number;
}

export class Starts {
  readonly #aws: Pick<Aws, 'startInstance'>;
  readonly #names: Names;
  readonly #log: Log;
  readonly #questions = new Questions();
  readonly #rising = new Map<string, Rising>();

  constructor(aws: Pick<Aws, 'startInstance'>, names: Names, log: Log) {
    this.#aws = aws;
    this.#names = names;
    this.#log = log;
  }

  /**
   * Resolves when the VM runs and its sshd answers; however many connections wait, it is asked about and started
   * once. @throws MintError `vm-not-running` where nobody wants it started, or it does not come up in time; `aws-…`
   */
  async bringUp(vm: LocatedVm, start: Start): Promise<LocatedVm> {
    const key = keyOf(vm.instance, start.port);
    if (vm.state !== 'pending' && !this.#rising.has(key)) await this.#decide(vm, start);
    let rising = this.#rising.get(key);
    if (rising === undefined) {
      rising = this.#begin(key, vm, start);
      this.#rising.set(key, rising);
    }
    const { up, since } = rising;
    const tell = () => {
      const seconds = Math.round((performance.now() - since) / 1000);
      start.tell(
        `${vm.name} (${vm.instance}): ${rising.stage} (${seconds} s)${seconds === 0 ? startAdvice : ''}`,
      );
    };
    tell();
    const ticker = setInterval(tell, tellPause).unref();
    try {
      return await up;
    } finally {
      clearInterval(ticker);
    }
  }

  /** Whether that instance was started, and its sshd has not answered on that port yet. EC2 calls it running before. */
  isStarting(instance: string, port: number): boolean {
    return this.#rising.has(keyOf(instance, port));
  }

  async #decide(vm: LocatedVm, { settings, ask }: Start): Promise<void> {
    if (settings.start === 'always') return;
    if (settings.start === 'never') throw notRunning(vm, settings);
    const settled = await this.#questions.settle(vm.name, vm.instance, ask, async (askPerson) => {
      const answer = await askPerson(startQuestion(vm));
      return answer === 'yes'
        ? 'accepted'
        : answer === 'no'
          ? 'refused'
          : answer === 'timeout'
            ? 'unanswered'
            : 'nobody';
    });
    if (settled !== 'accepted') throw notRunning(vm, settings);
  }

  #begin(key: string, vm: LocatedVm, start: Start): Rising {
    const up = this.#start(vm, start, (stage) => {
      rising.stage = stage;
    }).finally(() => this.#rising.delete(key));
    const rising: Rising = { up, stage: 'starting it', since: performance.now() };
    return rising;
  }

  async #start(stopped: LocatedVm, start: Start, reach: (stage: string) => void): Promise<LocatedVm> {
    const deadline = performance.now() + startLimit;
    await sleep(0);
    let vm = stopped;
    for (let isAsked = false; vm.state !== 'running'; vm = await this.#lookAgain(vm, start)) {
      if (performance.now() > deadline) throw notInTime(vm, `it is still ${vm.state}`);
      if (vm.state === 'stopping') reach('waiting until it has stopped');
      else reach('it is starting');
      // It may be shown as stopped for a while after it was told to start.
      if (vm.state !== 'stopped' || isAsked) continue;
      await this.#send(vm, start);
      isAsked = true;
    }
    reach('it runs, waiting for sshd');
    const blind = performance.now() + blindLimit;
    for (;;) {
      // An address may come a moment after the state.
      const candidates = candidatesFor(vm, start.settings);
      const direct = candidates.filter(isDirect);
      const answering = await Promise.all(direct.map(({ host }) => answers(host, start.port)));
      if (answering.includes(true)) return vm;
      const isTunnel = direct.length < candidates.length;
      if (isTunnel && (direct.length === 0 || performance.now() > blind)) return vm;
      if (performance.now() > deadline) throw notInTime(vm, 'its sshd does not answer');
      vm = await this.#lookAgain(vm, start);
    }
  }

  /** What EC2 does not say this time it may say the next. */
  async #lookAgain(vm: LocatedVm, { wanted }: Start): Promise<LocatedVm> {
    await sleep(pollPause);
    return await this.#names.look(wanted).catch((error: unknown) => {
      if (isDefinite(error)) throw error;
      return vm;
    });
  }

  async #send(vm: LocatedVm, { caller, settings }: Start): Promise<void> {
    const { region, profile } = settings;
    await this.#aws.startInstance(caller, { region, profile, instanceId: vm.instance });
    this.#log(`${vm.name}: started ${vm.instance}`);
  }
}

function keyOf(instance: string, port: number): string {
  return `${instance} ${port}`;
}

export function isUp(vm: LocatedVm): boolean {
  return vm.state === 'running';
}

/** What Mint's bootstrap tag means for whoever logs in now. */
export function setupNotice({ name, bootstrap }: LocatedVm): string | undefined {
  if (bootstrap === 'pending')
    return `${name} is still being set up by Mint: tools or files may be missing yet`;
  if (bootstrap === 'failed')
    return `Mint could not set ${name} up to the end: see its bootstrap log, or recreate it`;
  return undefined;
}

function startQuestion({ name, instance, state, account, region }: LocatedVm) {
  return {
    framed: `\nThe VM ${printable(name)} (${instance} in ${region}, account ${account}) is ${state}.\n`,
    prompt: 'Start it and connect (yes/no)? ',
    accepts: ['yes'],
    seconds: answerSeconds,
  };
}

function notRunning({ name, instance, state, region }: LocatedVm, { profile }: VmSettings): MintError {
  const as = profile === undefined ? '' : command` --profile ${profile}`;
  return new MintError('vm-not-running', `${name} (${instance}) is ${state}`, {
    hint: `${command`aws ec2 start-instances --instance-ids ${instance} --region ${region}`}${as}; or set start = "always" in ssh.toml`,
  });
}

function notInTime({ name, instance, region }: LocatedVm, what: string): MintError {
  return new MintError('vm-not-running', `${name} (${instance}) was started, but ${what} after 4 minutes`, {
    hint: command`aws ec2 get-console-output --latest --instance-id ${instance} --region ${region}`,
  });
}

/** Whether something there begins with an SSH server's first words. */
function answers(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect({ host, port });
    let said = '';
    const end = (isSsh: boolean) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(isSsh);
    };
    const timer = setTimeout(() => end(false), bannerLimit);
    socket.on('error', () => end(false)).on('close', () => end(false));
    socket.on('data', (chunk) => {
      said = (said + chunk.toString('latin1')).slice(0, 8192);
      if (/^SSH-/m.test(said)) end(true);
    });
  });
}
