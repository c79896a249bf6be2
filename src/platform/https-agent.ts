/** HTTP connections through the caller's proxies and with the caller's certificates. */
import { readFileSync } from 'node:fs';
import { Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import { getCACertificates } from 'node:tls';
import { MintError } from '../errors.ts';

export interface Agents {
  readonly httpAgent: HttpAgent;
  readonly httpsAgent: HttpsAgent;
}

export interface AgentOptions {
  readonly keepAlive: boolean;
  /** A file of certificates that the AWS profile names; AWS_CA_BUNDLE overrides it. */
  readonly caBundle?: string | undefined;
}

/**
 * Reads HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY (either case), AWS_CA_BUNDLE and NODE_EXTRA_CA_CERTS from the
 * caller's environment. The certificates named there are trusted in addition to the default ones.
 * @throws MintError `bad-settings` for a proxy that is not an HTTP URL, and for a CA bundle that cannot be read
 */
export function webAgents(environment: NodeJS.ProcessEnv, { keepAlive, caBundle }: AgentOptions): Agents {
  const authorities = certificateAuthorities(environment, caBundle);
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

/** Node accepts URLs only and ignores everything else; curl and the AWS CLI accept `host:port` as well. */
function proxies(environment: NodeJS.ProcessEnv): Record<string, string> {
  const found: Record<string, string> = {};
  const given = (name: string) => environment[name.toLowerCase()] || environment[name] || undefined;
  const except = given('NO_PROXY');
  for (const name of ['HTTP_PROXY', 'HTTPS_PROXY']) {
    const from = given(name) === undefined ? 'ALL_PROXY' : name;
    const value = given(from);
    if (value === undefined) continue;
    if (/^socks/i.test(value) && !reachesAwsDirectly(except)) throw socksProxy(from);
    found[name] = value.includes('://') ? value : `http://${value}`;
  }
  if (except !== undefined) found['NO_PROXY'] = except;
  return found;
}

/** Whether NO_PROXY exempts AWS, so that a proxy of another kind does not matter. */
function reachesAwsDirectly(except: string | undefined): boolean {
  return (except ?? '')
    .split(/[\s,]+/)
    .some((entry) => entry === '*' || /(?:^|\.)amazonaws\.com$/.test(entry));
}

function socksProxy(name: string): MintError {
  return new MintError('bad-settings', `${name} names a SOCKS proxy, which is not supported`, {
    hint: 'let HTTPS_PROXY name an HTTP proxy; or to reach AWS without a proxy: NO_PROXY=.amazonaws.com',
  });
}

/** Undefined where the caller names none, so that Node uses its own defaults. */
function certificateAuthorities(
  environment: NodeJS.ProcessEnv,
  caBundle: string | undefined,
): string[] | undefined {
  const extra: string[] = [];
  const variable = environment['AWS_CA_BUNDLE'];
  const bundle = variable || caBundle;
  if (bundle !== undefined && bundle !== '') {
    const setting = variable ? 'AWS_CA_BUNDLE' : 'ca_bundle of the AWS profile';
    try {
      extra.push(readFileSync(bundle.replace(/^~(?=\/)/, environment['HOME'] ?? '~'), 'utf8'));
    } catch (cause) {
      throw new MintError('bad-settings', `${setting} cannot be read: ${bundle}`, {
        hint: `let ${setting} name a readable PEM file, or remove it`,
        cause,
      });
    }
  }
  const nodeExtra = environment['NODE_EXTRA_CA_CERTS'];
  if (nodeExtra !== undefined && nodeExtra !== '') {
    try {
      extra.push(readFileSync(nodeExtra, 'utf8'));
    } catch {
      // Node itself continues without it as well.
    }
  }
  return extra.length === 0 ? undefined : [...getCACertificates('default'), ...extra];
}
