/** Checks this machine's ssh and its version. */
import { system } from '../platform/system/system.ts';
import { type Finding, fail, ok, warn } from './check.ts';
import { runSsh } from './run-program.ts';

/** @throws MintError `io-failed` if ssh is not installed */
export async function checkSsh(environment: NodeJS.ProcessEnv): Promise<readonly Finding[]> {
  const [{ stderr }, refuses] = await Promise.all([
    runSsh(['-V'], { limit: 5_000, environment }),
    refusesShellSyntax(environment),
  ]);
  const version = judgeVersion(stderr.split('\n')[0]?.trim() ?? '');
  if (refuses || version.status === 'fail') return [version];
  return [
    version,
    warn(
      'this ssh hands a user name with shell syntax to the shell that runs a ProxyCommand (CVE-2023-51385): an address such as ssh://NAME@HOST from an attacker can run commands here',
      'update OpenSSH to 9.6, or to a version of your system with the fix',
    ),
  ];
}

/** Tests ssh itself and not its version, because distributions fix older versions. It makes no connection. */
async function refusesShellSyntax(environment: NodeJS.ProcessEnv): Promise<boolean> {
  const words = ['-F', '/dev/null', '-G', '-l', 'a;b', 'localhost'];
  const { status } = await runSsh(words, { limit: 5_000, environment });
  return status !== 0;
}

function judgeVersion(said: string): Finding {
  const found = /^OpenSSH_(?:for_Windows_)?(\d+)\.(\d+)/.exec(said);
  const name = said.split(',')[0]?.slice(0, 100) ?? '';
  if (found === null) {
    return warn(`"${name}" is not the version of an OpenSSH`, 'install OpenSSH 8.4 or newer');
  }
  if (!said.startsWith(system.sshVersionPrefix)) {
    return fail(
      `${name} is not the ssh of Windows, and cannot open the agent's pipes`,
      'put C:\\Windows\\System32\\OpenSSH before the directory of Git in your PATH',
    );
  }
  const version = Number(found[1]) * 100 + Number(found[2]);
  if (version < 804) {
    return fail(`${name} is too old: the blocks need 8.4`, system.newerSshHint);
  }
  if (version < 809) {
    return warn(
      `${name} does not bind sessions to the agent (session-bind needs 8.9): only stream binding protects logins, and VMs with require_binding refuse them`,
      system.newerSshHint.replace('8.4', '8.9'),
    );
  }
  if (version >= 1005) {
    return ok(
      `${name} passes the VM's agent to its ProxyCommand as SSH_AUTH_SOCK: \`ssh -A\` needs upstream_agent to find yours`,
    );
  }
  return ok(name);
}
