/**
 * `mint-ssh proxy`: what ssh runs as ProxyCommand. This is the map of the main path.
 *
 * stdout carries the SSH stream and nothing else; no AWS code is loaded here.
 */
import { existsSync } from 'node:fs';
import type { OpenRequest } from '../agent/control-protocol.ts';
import { protocolVersion } from '../agent/control-protocol.ts';
import type { Command, Invocation } from '../cli/command.ts';
import { say, warn } from '../cli/terminal.ts';
import { callerEnvironment } from '../config/environment.ts';
import { resolvePaths } from '../config/paths.ts';
import { vmName } from '../config/vm-name.ts';
import { MintError } from '../errors.ts';
import { AgentLink, AgentRefusal } from '../proxy/agent-link.ts';
import { bridge } from '../proxy/bridge.ts';
import { dial } from '../proxy/dial.ts';
import { stdioClient } from '../proxy/end.ts';
import { releaseWhenPushed } from '../proxy/hold.ts';
import { ClientLeft, exchangeKeys } from '../proxy/key-exchange.ts';
import { reportEnd } from '../proxy/report-end.ts';
import { Timing } from '../proxy/timing.ts';

export const command: Command = {
  usage: 'proxy VM [PORT] [USER]',
  help: `Connects stdin and stdout to the sshd of VM: dials it while the agent authorises a fresh key there, checks
the host key in the stream, and pipes. ssh runs this as ProxyCommand; \`mint-ssh ssh-config\` writes the line.
`,
  options: {},
  run,
};

async function run(invocation: Invocation): Promise<number> {
  const { verbose, timing: showTiming } = invocation.globals;
  const explain = verbose ? say : () => {};
  const timing = new Timing();
  const request = readRequest(invocation);
  const paths = resolvePaths({ configDir: invocation.globals.configDir });
  if (!existsSync(paths.sshToml)) throw unknownVm(request.vm, paths.sshToml);
  const client = stdioClient();
  const agent = new AgentLink(paths, request);
  process.once('SIGHUP', () => client.destroy()).once('SIGTERM', () => client.destroy());
  timing.mark('start');
  try {
    // 1. Ask the agent: a name becomes an address, and the push of the key begins.
    await agent.connect();
    const target = { vm: request.vm, ...(await agent.target()) };
    timing.mark('agent');
    explain(`${target.vm} is ${target.host} port ${target.port}`);

    // 2. Dial, while the agent pushes. 3. Pass the key exchange on; hold the host key until it is judged.
    const exchanged = await Promise.race([
      exchangeKeys({ client, agent, timing, explain, dial: (deadline) => dial(target, deadline) }),
      agent.refusal,
    ]);

    // 4. Hold what the client sends behind its NEWKEYS until the push has succeeded and is fresh.
    const { pushMilliseconds } = await releaseWhenPushed(exchanged, agent, timing);
    explain(pushMilliseconds === undefined ? 'the key was authorised before' : 'the key is authorised');
    if (showTiming || verbose) say(timing.line(pushMilliseconds));

    // 5. From here on a plain pipe, both ways.
    const result = await bridge(client, exchanged.server, agent, exchanged.held.length > 0);
    return await reportEnd(result, target, agent);
  } catch (error) {
    if (error instanceof ClientLeft) return 0;
    if (error instanceof AgentRefusal && error.warning !== undefined) warn(error.warning);
    throw error;
  } finally {
    agent.close();
  }
}

function readRequest({ positionals, globals }: Invocation): OpenRequest {
  const [vm, port, user, ...more] = positionals;
  if (vm === undefined || more.length > 0) {
    throw new MintError('usage', vm === undefined ? 'which VM?' : 'too many arguments', {
      hint: `usage: mint-ssh ${command.usage}`,
    });
  }
  const portNumber = port === undefined ? undefined : Number(port);
  if (portNumber !== undefined && !(Number.isInteger(portNumber) && portNumber > 0 && portNumber < 65_536)) {
    throw new MintError('usage', 'PORT has to be a number from 1 to 65535');
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
    established: false,
  };
}

function unknownVm(vm: string, sshToml: string): MintError {
  return new MintError('vm-not-found', `no VM is called ${vm}`, {
    hint: `name it in ${sshToml}: [vm.${vm}] with host and instance`,
  });
}
