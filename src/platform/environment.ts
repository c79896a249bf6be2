/** Variables that decide which AWS account a call acts for, how it gets there, and where managed keys are. */
const travels =
  /^(AWS_\w+|MINT_KEYS_DIR|HOME|USERPROFILE|PATH|USER|LOGNAME|LANG|TMPDIR|(?:https?|no|all)_proxy|(?:HTTPS?|NO|ALL)_PROXY|NODE_EXTRA_CA_CERTS|SSL_CERT_(?:FILE|DIR))$/;

const isWindows = process.platform === 'win32';
const travelsOnWindows =
  /^(?:AWS_\w+|MINT_KEYS_DIR|PATH|PATHEXT|SYSTEMROOT|SYSTEMDRIVE|COMSPEC|TE?MP|(?:LOCAL)?APPDATA|PROGRAMDATA|PROGRAMFILES|USERNAME|HOMEDRIVE|HOMEPATH)$/i;

/**
 * The part of a caller's environment that travels with its requests to the agent, so that the agent acts
 * with the caller's AWS settings and never with another's. PATH and HOME go along because a
 * `credential_process` and the SSO cache are found through them.
 */
export function callerEnvironment(environment: NodeJS.ProcessEnv): Record<string, string> {
  const kept: Record<string, string> = {};
  for (const [name, value] of Object.entries(environment)) {
    if (value !== undefined && travels.test(name)) kept[name] = value;
    // There `Path` is PATH, and a program that is started without some of these finds nothing.
    else if (value !== undefined && isWindows && travelsOnWindows.test(name))
      kept[name.toUpperCase()] = value;
  }
  return kept;
}
