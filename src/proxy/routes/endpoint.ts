/** The route through an EC2 Instance Connect Endpoint, which connects to the VM from inside its VPC. */
import { MintError } from '../../errors.ts';
import type { Route } from './route.ts';

/** AWS refuses every other port: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/connect-with-ec2-instance-connect-endpoint.html */
const allowedPorts = [22, 3389];
/** What the addresses have before a tunnel is opened. */
const headStartMs = 500;

export const endpoint: Route = {
  headStartMs: () => headStartMs,

  /** Loads the WebSocket library only here. */
  async dial(_candidate, { vm, port, timeoutMs, tunnel }, signal) {
    if (!allowedPorts.includes(port)) throw portRefused(vm, port);
    const startedAt = performance.now();
    const [found, { openTunnel }] = await Promise.all([tunnel(), import('./endpoint-tunnel.ts')]);
    signal.throwIfAborted();
    const leftMs = timeoutMs - (performance.now() - startedAt);
    return await openTunnel(found, { vm, port, timeoutMs: leftMs, signal });
  },
};

function portRefused(vm: string, port: number): MintError {
  return new MintError(
    'dial-failed',
    `an EC2 Instance Connect Endpoint reaches ports 22 and 3389 only, and the sshd of ${vm} is on port ${port}`,
    {
      hint: `let sshd listen on port 22 too and set port = 22 for [vm.${vm}] in ssh.toml, or set via to a jump host`,
    },
  );
}
