/**
 * `mint-ssh proxy`: ssh runs it as ProxyCommand. `serve` is the map of the main path. stdout carries the SSH stream and
 * nothing else; no AWS code is loaded here.
 */
import { writeFileSync } from 'node:fs';
import type { Command, Invocation } from '../cli/command.ts';
import { startProgress } from '../cli/progress.ts';
import { printable, say, warn } from '../cli/terminal.ts';
import { MintError } from '../errors.ts';
import { forbidCoreFiles } from '../platform/hardening.ts';
import { resolvePaths } from '../platform/paths.ts';
import { AgentClient, readRequest } from '../proxy/agent-client.ts';
import { type ByteStream, stdioClient } from '../proxy/byte-stream.ts';
import { connect, hostsOf } from '../proxy/connect.ts';
import { AgentRefusal, ClientLeft } from '../proxy/errors.ts';
import { exchangeKeys } from '../proxy/key-exchange.ts';
import { pipe, reportEnd } from '../proxy/pipe.ts';
import { passWhenPushed } from '../proxy/push-gate.ts';
import { dialLastAddress, type EarlyDial } from '../proxy/routes/direct.ts';
import { Timing } from '../proxy/timing.ts';
import { type Candidate, isDirect } from '../vms/candidates.ts';

export const command: Command = {
  usage: 'proxy VM [PORT] [USER]',
  help: `Connects stdin and stdout to the sshd of VM: dials it while the agent authorizes a fresh key there, checks
the host key in the stream, and pipes. ssh runs this as ProxyCommand; \`mint-ssh ssh-config\` writes the line.`,
  options: {
    'upstream-agent': { type: 'string', hidden: true },
    // `mint-ssh ssh VM` passes it: the user typed the name, so the VM may be found by its Name tag.
    'by-name': { type: 'boolean', hidden: true },
    // `mint-ssh mosh` names a file for the address of this connection.
    'told-address': { type: 'string', hidden: true },
  },
  run,
};

async function run(invocation: Invocation): Promise<number> {
  const paths = resolvePaths({ configDir: invocation.globals.configDir });
  const request = readRequest(invocation, paths, command.usage);
  // Dial early: sshd takes longer to send its first bytes than the agent takes to resolve the name.
  const early = dialLastAddress(paths, request);
  const client = stdioClient();
  const agent = new AgentClient(paths, request);
  forbidCoreFiles({ wait: false });
  const leave = () => {
    // ssh sends SIGHUP before it exits, so output written now appears before the shell's prompt.
    const lines = agent.refusalNotice.take();
    if (lines !== undefined) warn(lines);
    client.destroy();
  };
  process.once('SIGHUP', leave).once('SIGTERM', () => client.destroy());
  try {
    return await serve(invocation, { client, agent, early, vm: request.vm, runDir: paths.run });
  } catch (error) {
    if (error instanceof ClientLeft) return await reportLateAnswer(agent, request.vm);
    if (error instanceof AgentRefusal && error.warning !== undefined) warn(error.warning);
    throw error;
  } finally {
    agent.close();
  }
}

interface Parts {
  readonly vm: string;
  readonly runDir: string;
  readonly client: ByteStream;
  readonly agent: AgentClient;
  readonly early: EarlyDial | undefined;
}

/**
 * The main path.
 * @returns the exit status
 * @throws ClientLeft, MintError
 */
async function serve(invocation: Invocation, { vm, runDir, client, agent, early }: Parts): Promise<number> {
  const { verbose, timing: showTiming } = invocation.globals;
  const explain = verbose ? say : undefined;
  const timing = new Timing();
  const whileWanted = <T>(step: Promise<T>) => Promise.race([step, agent.refusal, departure(client)]);
  const progress = startProgress(`finding ${vm}`);
  timing.mark('start');
  try {
    // 1. Resolve the name. The agent begins to push the key.
    const target = await whileWanted(agent.open());
    timing.mark('agent');
    explain?.(`${vm} is ${hostsOf(target)} port ${target.port}${target.sure ? '' : ', by the cache'}`);

    // 2. Connect to the first candidate that answers.
    progress.update(`connecting to ${vm} at ${printable(hostsOf(target))} port ${target.port}`);
    const connection = await whileWanted(connect({ vm, runDir, client, agent, early, timing, explain }));

    progress.update(`exchanging keys with ${vm}`);
    // 3. Pass the key exchange on; hold the host key until the agent has accepted it.
    const held = await whileWanted(exchangeKeys(connection, { client, agent, timing, explain }));

    progress.update(`pushing a key for ${vm}`);
    // 4. Hold what the client sends after its NEWKEYS until the VM accepts the pushed key.
    const { server, candidate } = connection;
    const pushMs = await whileWanted(passWhenPushed(held, server, agent, timing));
    progress.end();
    writeAddress(invocation, candidate, vm);
    explain?.(pushMs === undefined ? 'the key was authorized before' : 'the key is authorized');
    if (showTiming || verbose) say(`${timing.line()} (${describePush(pushMs)})`);

    // 5. Copy bytes until both sides have ended.
    return await reportEnd(await pipe(client, server, agent, held.length > 0), vm, agent);
  } catch (error) {
    if (!timing.isOver && (showTiming || verbose)) {
      timing.mark('failed');
      say(timing.line());
    }
    throw error;
  } finally {
    progress.end();
  }
}

/**
 * For mosh: writes the address of the connection to the file that `--told-address` names.
 * @throws MintError `dial-failed` if the route has none; then no login is made
 */
function writeAddress({ values }: Invocation, candidate: Candidate, vm: string): void {
  const file = values['told-address'] as string | undefined;
  if (file === undefined) return;
  if (!isDirect(candidate)) {
    throw new MintError('dial-failed', `${vm} has no address that mosh's UDP packets can reach`, {
      hint: `this route carries TCP only: give the VM an address, or use: mint-ssh ssh ${vm}`,
    });
  }
  writeFileSync(file, candidate.host, { flag: 'wx', mode: 0o600 });
}

function describePush(pushMs: number | undefined): string {
  return pushMs === undefined ? 'push none, the key was warm' : `push ${pushMs.toFixed(1)} in parallel`;
}

/** Reports a key that the user accepted after ssh gave up (keep-alives, Ctrl-C): it counts for the next connection. */
async function reportLateAnswer(agent: AgentClient, vm: string): Promise<number> {
  if (await agent.acceptedLate())
    warn(`mint-ssh: the new host key of ${vm} is trusted now: run the command again`);
  return 0;
}

/** Rejects once the client has disconnected, so that no step continues without it. */
async function departure(client: ByteStream): Promise<never> {
  await client.left;
  throw new ClientLeft();
}
