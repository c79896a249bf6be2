/** The route through an EC2 Instance Connect Endpoint, which connects to the VM from inside its VPC. */
import type { Route } from './route.ts';

/** What the addresses have before a tunnel is opened. */
const headStartMs = 500;

export const endpoint: Route = {
  headStartMs: () => headStartMs,

  /** Loads the WebSocket library only here. */
  async dial(_candidate, { vm, port, timeoutMs, tunnel }, signal) {
    const startedAt = performance.now();
    const [found, { openTunnel }] = await Promise.all([tunnel(), import('./endpoint-tunnel.ts')]);
    signal.throwIfAborted();
    const leftMs = timeoutMs - (performance.now() - startedAt);
    return await openTunnel(found, { vm, port, timeoutMs: leftMs, signal });
  },
};
