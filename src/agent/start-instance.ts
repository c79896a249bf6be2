/** Starts a stopped instance if ssh.toml or the user allows it, and waits until its sshd answers. */
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
import type { Log } from './context.ts';
import { type AskUser, SharedPrompt } from './prompt.ts';

/** The time limit from the decision to sshd's first line. */
const startLimitMs = 4 * 60_000;
/** The pause between two requests to EC2, and between two attempts to reach sshd. */
const pollPauseMs = 1500;
/** The pause between two lines of progress. Without them ssh seems to hang. */
const progressPauseMs = 5000;
/** If only an endpoint may reach the VM, no direct answer is expected after this time. */
const directLimitMs = 20_000;
/** sshd sends its version line at once. A server that does not within this time is not up yet. */
const bannerLimitMs = 3000;
/**
 * Editors give up before a VM has booted (VS Code after 15 s by default). The agent continues the start, and the next
 * connection joins it.
 */
const startAdvice = '; if the client gives up first, connect again in about 20 s';
/** How long the user has for an answer: less than the 45 s after which keep-alives end a waiting ssh. */
const answerSeconds = 40;

/** What a start is for. */
export interface StartRequest {
  readonly settings: VmSettings;
  readonly port: number;
  readonly caller: Caller;
  readonly wanted: Wanted;
  readonly ask: AskUser;
  /** Shows the user one line. */
  readonly tell: (line: string) => void;
}

/** A start that is under way. */
interface Starting {
  readonly started: Promise<LocatedVm>;
  /** For the next line of progress. */
  stage: string;
  readonly since: number;
}

export class InstanceStarts {
  readonly #aws: Pick<Aws, 'startInstance'>;
  readonly #names: Names;
  readonly #log: Log;
  readonly #prompt = new SharedPrompt();
  readonly #starting = new Map<string, Starting>();

  constructor(aws: Pick<Aws, 'startInstance'>, names: Names, log: Log) {
    this.#aws = aws;
    this.#names = names;
    this.#log = log;
  }

  /**
   * Starts the VM, and resolves when its sshd answers. If several connections wait for it, the user is asked once and
   * the VM is started once.
   * @returns the VM as EC2 describes it now
   * @throws MintError `vm-not-running` if it may not be started or does not start in time; `aws-…`
   */
  async start(vm: LocatedVm, request: StartRequest): Promise<LocatedVm> {
    const key = keyOf(vm.instance, request.port);
    if (vm.state !== 'pending' && !this.#starting.has(key)) await this.#decide(vm, request);
    let starting = this.#starting.get(key);
    if (starting === undefined) {
      starting = this.#begin(key, vm, request);
      this.#starting.set(key, starting);
    }
    const { started, since } = starting;
    const tell = () => {
      const seconds = Math.round((performance.now() - since) / 1000);
      request.tell(
        `${vm.name} (${vm.instance}): ${starting.stage} (${seconds} s)${seconds === 0 ? startAdvice : ''}`,
      );
    };
    tell();
    const ticker = setInterval(tell, progressPauseMs).unref();
    try {
      return await started;
    } finally {
      clearInterval(ticker);
    }
  }

  /** Whether the instance was started and its sshd has not answered on that port yet. EC2 shows `running` before that. */
  isStarting(instance: string, port: number): boolean {
    return this.#starting.has(keyOf(instance, port));
  }

  async #decide(vm: LocatedVm, { settings, ask }: StartRequest): Promise<void> {
    if (settings.start === 'always') return;
    if (settings.start === 'never') throw notRunning(vm, settings);
    const decision = await this.#prompt.decide(vm.name, vm.instance, ask, async (askUser) => {
      const answer = await askUser(startQuestion(vm));
      return answer === 'yes'
        ? 'accepted'
        : answer === 'no'
          ? 'refused'
          : answer === 'timeout'
            ? 'unanswered'
            : 'cannot-ask';
    });
    if (decision !== 'accepted') throw notRunning(vm, settings);
  }

  #begin(key: string, vm: LocatedVm, request: StartRequest): Starting {
    const started = this.#start(vm, request, (stage) => {
      starting.stage = stage;
    }).finally(() => this.#starting.delete(key));
    const starting: Starting = { started, stage: 'starting it', since: performance.now() };
    return starting;
  }

  async #start(
    stopped: LocatedVm,
    request: StartRequest,
    reach: (stage: string) => void,
  ): Promise<LocatedVm> {
    const deadline = performance.now() + startLimitMs;
    await sleep(0);
    let vm = stopped;
    for (let isAsked = false; vm.state !== 'running'; vm = await this.#lookAgain(vm, request)) {
      if (performance.now() > deadline) throw notInTime(vm, `it is still ${vm.state}`);
      if (vm.state === 'stopping') reach('waiting until it has stopped');
      else reach('it is starting');
      // EC2 may show it as stopped for a while after it was told to start it.
      if (vm.state !== 'stopped' || isAsked) continue;
      await this.#send(vm, request);
      isAsked = true;
    }
    reach('it runs, waiting for sshd');
    const directDeadline = performance.now() + directLimitMs;
    for (;;) {
      // EC2 may show the address a moment after the state.
      const candidates = candidatesFor(vm, request.settings);
      const direct = candidates.filter(isDirect);
      const answering = await Promise.all(direct.map(({ host }) => answers(host, request.port)));
      if (answering.includes(true)) return vm;
      const isTunnel = direct.length < candidates.length;
      if (isTunnel && (direct.length === 0 || performance.now() > directDeadline)) return vm;
      if (performance.now() > deadline) throw notInTime(vm, 'its sshd does not answer');
      vm = await this.#lookAgain(vm, request);
    }
  }

  /** Asks EC2 after a pause; on a temporary error the VM stays as it was. */
  async #lookAgain(vm: LocatedVm, { wanted }: StartRequest): Promise<LocatedVm> {
    await sleep(pollPauseMs);
    return await this.#names.look(wanted).catch((error: unknown) => {
      if (isDefinite(error)) throw error;
      return vm;
    });
  }

  async #send(vm: LocatedVm, { caller, settings }: StartRequest): Promise<void> {
    const { region, profile } = settings;
    await this.#aws.startInstance(caller, { region, profile, instanceId: vm.instance });
    this.#log(`${vm.name}: started ${vm.instance}`);
  }
}

function keyOf(instance: string, port: number): string {
  return `${instance} ${port}`;
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

/** @returns whether an SSH server answers there in time */
function answers(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect({ host, port });
    let received = '';
    const end = (isSsh: boolean) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(isSsh);
    };
    const timer = setTimeout(() => end(false), bannerLimitMs);
    socket.on('error', () => end(false)).on('close', () => end(false));
    socket.on('data', (chunk) => {
      received = (received + chunk.toString('latin1')).slice(0, 8192);
      if (/^SSH-/m.test(received)) end(true);
    });
  });
}
