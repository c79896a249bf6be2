/** What the proxy asks for: the command line, the caller's environment and the last address of the VM. */
import { existsSync } from 'node:fs';
import { type OpenRequest, protocolVersion } from '../agent/control/protocol.ts';
import type { Invocation } from '../cli/command.ts';
import { printable } from '../cli/terminal.ts';
import { MintError } from '../errors.ts';
import { callerEnvironment, sessionKey } from '../platform/caller.ts';
import type { Paths } from '../platform/paths.ts';
import { userAgentSocket } from '../platform/user-agent-socket.ts';
import { vmName } from '../settings/vm-name.ts';
import { readLastAddress } from '../vms/last-address.ts';
import { EarlyDial } from './routes/direct.ts';

/** The form of `InstanceOSUser` in SendSSHPublicKey; a digit may come first. */
const userForm = /^[\w][\w@.-]{0,30}[\w$-]?$/;

/**
 * Reads VM, PORT and USER from the command line and the rest of the request from the environment.
 * @throws MintError `usage`; `bad-vm-name`; `vm-not-found` if no VM is known at all
 */
export function readRequest(
  { positionals, values, globals }: Invocation,
  paths: Paths,
  usage: string,
): OpenRequest {
  const [vm, port, user, ...more] = positionals;
  if (vm === undefined || more.length > 0) {
    throw new MintError('usage', vm === undefined ? 'missing argument: VM' : 'too many arguments', {
      hint: `usage: mint-ssh ${usage}`,
    });
  }
  const portNumber = port === undefined ? undefined : Number(/^\d{1,5}$/.exec(port)?.[0]);
  if (portNumber !== undefined && !(portNumber > 0 && portNumber < 65_536)) {
    throw new MintError('usage', 'invalid PORT: must be 1 to 65535');
  }
  if (user !== undefined && !userForm.test(user)) {
    throw new MintError('usage', `invalid USER: "${printable(user.slice(0, 40))}"`, {
      hint: 'a user name has letters, digits and @ . _ -, at most 32',
    });
  }
  const name = vmName(vm);
  // Without any file of ours or Mint's no name can mean anything, so no agent is started.
  const isByName = values['by-name'] === true;
  if (
    !isByName &&
    ![paths.sshToml, paths.configToml, paths.sshConfig, paths.jobs].some((path) => existsSync(path))
  ) {
    throw unknownVm(name, paths.sshToml);
  }
  return {
    type: 'open',
    version: protocolVersion,
    vm: name,
    port: portNumber,
    user,
    profile: globals.profile,
    region: globals.region,
    environment: callerEnvironment(process.env),
    session: sessionKey(process.env),
    upstreamAgent: (values['upstream-agent'] as string | undefined) ?? userAgentSocket(paths.run),
    established: false,
    byName: isByName,
  };
}

function unknownVm(vm: string, sshToml: string): MintError {
  return new MintError('vm-not-found', `${vm} is not configured: there is no ${sshToml} and no Host block`, {
    hint: `mint-ssh ssh-config ${vm}`,
  });
}

/** Begins to dial the last address of the VM, if it is known and the port fits. */
export function dialLastAddress(paths: Paths, { vm, port }: OpenRequest): EarlyDial | undefined {
  const address = readLastAddress(paths, vm);
  if (address === undefined || (port !== undefined && port !== address.port)) return undefined;
  return new EarlyDial(address);
}
