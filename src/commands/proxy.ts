/**
 * `mint-ssh proxy`: what ssh runs as ProxyCommand. This is the map of the main path.
 *
 * stdout carries the SSH stream and nothing else; no AWS code is loaded here.
 */
import { existsSync, writeFileSync } from 'node:fs';
import type {
  Answer,
  OpenRequest,
  QuestionText,
  SecretAnswer,
  SecretQuestion,
} from '../agent/control/protocol.ts';
import { protocolVersion } from '../agent/control/protocol.ts';
import type { Command, Invocation } from '../cli/command.ts';
import { printable, say, warn } from '../cli/terminal.ts';
import { MintError } from '../errors.ts';
import { callerEnvironment } from '../platform/environment.ts';
import { forbidCoreFiles } from '../platform/hardening.ts';
import { type Paths, resolvePaths } from '../platform/paths.ts';
import { AgentLink } from '../proxy/agent-link.ts';
import { AgentRefusal } from '../proxy/agent-refusal.ts';
import { bridge } from '../proxy/bridge.ts';
import { EarlyDial } from '../proxy/early-dial.ts';
import type { End } from '../proxy/end.ts';
import { hosts } from '../proxy/guide.ts';
import { type PushTime, releaseWhenPushed } from '../proxy/hold.ts';
import { ClientLeft, exchangeKeys } from '../proxy/key-exchange.ts';
import { reportEnd } from '../proxy/report-end.ts';
import { stdioClient } from '../proxy/stdio-client.ts';
import { Timing } from '../proxy/timing.ts';
import { usersAgent } from '../proxy/users-agent.ts';
import { vmName } from '../settings/vm-name.ts';
import { readLastAddress } from '../vms/last-address.ts';

/** As SendSSHPublicKey takes `InstanceOSUser`, a digit in front allowed. */
const userForm = /^[\w][\w@.-]{0,30}[\w$-]?$/;

export const command: Command = {
  usage: 'proxy VM [PORT] [USER]',
  help: `Connects stdin and stdout to the sshd of VM: dials it while the agent authorises a fresh key there, checks
the host key in the stream, and pipes. ssh runs this as ProxyCommand; \`mint-ssh ssh-config\` writes the line.`,
  options: {
    'upstream-agent': { type: 'string', hidden: true },
    // `mint-ssh ssh VM` passes it: the user typed the name, so the VM may be found by its Name tag.
    'by-name': { type: 'boolean', hidden: true },
    // A file to be made, for whoever started ssh: where this connection goes.
    'told-address': { type: 'string', hidden: true },
  },
  run,
};

async function run(invocation: Invocation): Promise<number> {
  const { verbose, timing: showTiming } = invocation.globals;
  const explain = verbose ? say : undefined;
  const timing = new Timing();
  const paths = resolvePaths({ configDir: invocation.globals.configDir });
  const request = readRequest(invocation, paths);
  // Without any file of Mint's or ours no name is configured, and no agent is started for it.
  if (
    request.byName !== true &&
    ![paths.sshToml, paths.configToml, paths.sshConfig, paths.jobs].some((path) => existsSync(path))
  ) {
    throw unknownVm(request.vm, paths.sshToml);
  }
  const early = dialEarly(paths, request);
  const client = stdioClient();
  const agent = new AgentLink(paths, request, { ask: askPerson, askSecret: askPersonSecret });
  const whileWanted = <T>(step: Promise<T>) => Promise.race([step, agent.refusal, departure(client)]);
  process.once('SIGHUP', () => client.destroy()).once('SIGTERM', () => client.destroy());
  timing.mark('start');
  forbidCoreFiles({ wait: false });
  let connected = false;
  try {
    // 1. Ask the agent: a name becomes an address, and the push of the key begins.
    const { vm } = request;
    const target = await whileWanted(agent.open());
    timing.mark('agent');
    explain?.(`${vm} is ${hosts(target)} port ${target.port}${target.sure ? '' : ', as far as is known'}`);

    // 2. Dial where it says, unless that was dialled already; the agent pushes meanwhile. 3. Pass the key exchange on; hold the host key until it is judged.
    const exchanged = await whileWanted(exchangeKeys({ client, agent, timing, explain, vm, early }));

    // 4. Hold what the client sends behind its NEWKEYS until the push has succeeded and is fresh.
    const push = await whileWanted(releaseWhenPushed(exchanged, agent, timing));
    connected = true;
    tellAddress(invocation, exchanged.host, vm);
    explain?.(push === undefined ? 'the key was authorised before' : 'the key is authorised');
    if (showTiming || verbose) say(`${timing.line()} (${describePush(push)})`);

    // 5. From here on a plain pipe, both ways.
    const result = await bridge(client, exchanged.server, agent, exchanged.held.length > 0);
    return await reportEnd(result, vm, agent);
  } catch (error) {
    if (!connected && (showTiming || verbose)) {
      timing.mark('failed');
      say(timing.line());
    }
    if (error instanceof ClientLeft) return await lateAnswer(agent, request.vm);
    if (error instanceof AgentRefusal && error.warning !== undefined) warn(error.warning);
    throw error;
  } finally {
    agent.close();
  }
}

/** Begun first of all: sshd takes longer to say its first word than the agent to say where the VM is. */
function dialEarly(paths: Paths, { vm, port }: OpenRequest): EarlyDial | undefined {
  const address = readLastAddress(paths, vm);
  if (address === undefined || (port !== undefined && port !== address.port)) return undefined;
  return new EarlyDial(address);
}

/**
 * mosh-client goes to the address that ssh went to.
 * @throws MintError `dial-failed` where there is none: then no login is made for it
 */
function tellAddress({ values }: Invocation, host: string | undefined, vm: string): void {
  const file = values['told-address'] as string | undefined;
  if (file === undefined) return;
  if (host === undefined) {
    throw new MintError('dial-failed', `${vm} has no address that mosh's UDP packets can reach`, {
      hint: `an Instance Connect Endpoint carries TCP alone: give the VM an address, or use: mint-ssh ssh ${vm}`,
    });
  }
  writeFileSync(file, host, { flag: 'wx', mode: 0o600 });
}

function describePush(push: PushTime): string {
  return push === undefined ? 'push none, the key was warm' : `push ${push.toFixed(1)} beside them`;
}

/** Loads what asks only when there is a question. */
async function askPerson(question: QuestionText, signal: AbortSignal): Promise<Answer> {
  const { ask } = await import('../cli/question.ts');
  return ask({ ...question, signal });
}

async function askPersonSecret(
  { prompt, seconds }: SecretQuestion,
  signal: AbortSignal,
): Promise<SecretAnswer> {
  const { askSecret } = await import('../cli/secret.ts');
  const answer = await askSecret(prompt, process.env, { seconds, signal });
  return typeof answer === 'string' ? answer : { secret: Buffer.from(answer.text) };
}

/** ssh may give up (keep-alives, Ctrl-C) before the person has answered: a yes counts, for the next time. */
async function lateAnswer(agent: AgentLink, vm: string): Promise<number> {
  if (await agent.acceptedLate())
    warn(`mint-ssh: the new host key of ${vm} is trusted now: run the command again`);
  return 0;
}

/** Rejects once the client has left: nothing is dialled, and nobody waited for, on behalf of no one. */
async function departure(client: End): Promise<never> {
  await client.left;
  throw new ClientLeft();
}

function readRequest({ positionals, values, globals }: Invocation, paths: Paths): OpenRequest {
  const [vm, port, user, ...more] = positionals;
  if (vm === undefined || more.length > 0) {
    throw new MintError('usage', vm === undefined ? 'which VM?' : 'too many arguments', {
      hint: `usage: mint-ssh ${command.usage}`,
    });
  }
  const portNumber = port === undefined ? undefined : Number(/^\d{1,5}$/.exec(port)?.[0]);
  if (portNumber !== undefined && !(portNumber > 0 && portNumber < 65_536)) {
    throw new MintError('usage', 'PORT has to be a number from 1 to 65535');
  }
  if (user !== undefined && !userForm.test(user)) {
    throw new MintError('usage', `"${printable(user.slice(0, 40))}" is no user name of a VM`, {
      hint: 'letters, digits and @ . _ - make one, at most 32',
    });
  }
  return {
    type: 'open',
    version: protocolVersion,
    vm: vmName(vm),
    port: portNumber,
    user,
    profile: globals.profile,
    region: globals.region,
    environment: callerEnvironment(process.env),
    upstreamAgent: (values['upstream-agent'] as string | undefined) ?? usersAgent(paths.run),
    byName: values['by-name'] === true,
    established: false,
  };
}

function unknownVm(vm: string, sshToml: string): MintError {
  return new MintError('vm-not-found', `${vm} is not configured: there is no ${sshToml} and no Host block`, {
    hint: `mint-ssh ssh-config ${vm}`,
  });
}
