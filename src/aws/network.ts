/** How the SDK's clients reach AWS: kept-alive connections through the caller's proxies, with its certificates. */
import { type Agents, webAgents } from '../platform/https-agent.ts';

/** For one attempt: two attempts that hang leave time for a third within a push's 10 s. */
const connectionTimeout = 3_000;
const requestTimeout = 4_000;

/** The `requestHandler` options of an SDK client, times in milliseconds. */
export interface RequestHandling extends Agents {
  readonly connectionTimeout: number;
  readonly requestTimeout: number;
  readonly throwOnRequestTimeout: true;
}

/**
 * @param environment the caller's
 * @param caBundle `ca_bundle` of the caller's profile; AWS_CA_BUNDLE overrides it
 * @throws MintError `bad-settings`, as `webAgents`
 */
export function networkOf(environment: NodeJS.ProcessEnv, caBundle: string | undefined): RequestHandling {
  return {
    ...webAgents(environment, { keepAlive: true, caBundle }),
    connectionTimeout,
    requestTimeout,
    throwOnRequestTimeout: true,
  };
}
