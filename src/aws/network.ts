/** How a worker's SDK clients reach AWS: kept-alive connections, the caller's proxies and certificates. */
import { type Agents, webAgents } from '../platform/https-agent.ts';

/** Milliseconds for one attempt: two attempts that hang leave time for a third within a push's 10 s. */
const connectionTimeout = 3_000;
const requestTimeout = 4_000;

/** The `requestHandler` options of an SDK client. */
export interface RequestHandling extends Agents {
  readonly connectionTimeout: number;
  readonly requestTimeout: number;
  readonly throwOnRequestTimeout: true;
}

/** Takes the caller's environment. @throws MintError `bad-settings`, as `webAgents` */
export function requestHandling(environment: NodeJS.ProcessEnv): RequestHandling {
  return {
    ...webAgents(environment, true),
    connectionTimeout,
    requestTimeout,
    throwOnRequestTimeout: true,
  };
}
