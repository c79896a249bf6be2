/** How this program reaches the world over HTTP: through the caller's proxies, with the caller's certificates. */
import { readFileSync } from 'node:fs';
import { Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import { getCACertificates } from 'node:tls';
import { MintError } from '../errors.ts';

export interface Agents {
  readonly httpAgent: HttpAgent;
  readonly httpsAgent: HttpsAgent;
}

/**
 * Takes the caller's environment; reads HTTP_PROXY, HTTPS_PROXY and NO_PROXY (either case), AWS_CA_BUNDLE and
 * NODE_EXTRA_CA_CERTS from it. The certificates named there are trusted beside the default ones.
 *
 * Throws `bad-settings` for a proxy that is no URL and for an AWS_CA_BUNDLE that cannot be read.
 */
export function webAgents(environment: NodeJS.ProcessEnv, keepAlive: boolean): Agents {
  const authorities = certificateAuthorities(environment);
  // One free socket at most: after a laptop's sleep it may be dead without a sign, and the retry gets a new one.
  const options = { keepAlive, maxFreeSockets: 1, proxyEnv: proxies(environment) };
  try {
    return {
      httpAgent: new HttpAgent(options),
      httpsAgent: new HttpsAgent(authorities === undefined ? options : { ...options, ca: authorities }),
    };
  } catch (cause) {
    throw new MintError('bad-settings', 'the proxy settings cannot be used', {
      hint: 'HTTP_PROXY and HTTPS_PROXY are URLs such as http://proxy.example:3128',
      cause,
    });
  }
}

/** Node takes URLs only and passes over anything else; curl and the AWS CLI take `host:port` as well. */
function proxies(environment: NodeJS.ProcessEnv): Record<string, string> {
  const found: Record<string, string> = {};
  const given = (name: string) => environment[name.toLowerCase()] || environment[name] || undefined;
  for (const name of ['HTTP_PROXY', 'HTTPS_PROXY']) {
    const value = given(name);
    if (value !== undefined) found[name] = value.includes('://') ? value : `http://${value}`;
  }
  const except = given('NO_PROXY');
  if (except !== undefined) found['NO_PROXY'] = except;
  return found;
}

/** Undefined where the caller names none, so that Node uses its own defaults. */
function certificateAuthorities(environment: NodeJS.ProcessEnv): string[] | undefined {
  const extra: string[] = [];
  const bundle = environment['AWS_CA_BUNDLE'];
  if (bundle !== undefined && bundle !== '') {
    try {
      extra.push(readFileSync(bundle, 'utf8'));
    } catch (cause) {
      throw new MintError('bad-settings', `AWS_CA_BUNDLE cannot be read: ${bundle}`, {
        hint: 'let AWS_CA_BUNDLE name a readable PEM file, or unset it',
        cause,
      });
    }
  }
  const nodeExtra = environment['NODE_EXTRA_CA_CERTS'];
  if (nodeExtra !== undefined && nodeExtra !== '') {
    try {
      extra.push(readFileSync(nodeExtra, 'utf8'));
    } catch {
      // Node itself goes on without it as well.
    }
  }
  return extra.length === 0 ? undefined : [...getCACertificates('default'), ...extra];
}
