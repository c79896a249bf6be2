/** Starts `mint-ssh credentials` for the agent: in this proxy's environment, working directory and terminal. */
import { spawn } from 'node:child_process';
import type { AgentReply } from '../agent/control/protocol.ts';
import type { Paths } from '../platform/paths.ts';
import { ownProcess } from '../platform/program.ts';

/**
 * The process outlives the proxy: what it resolves late serves the next login. It gets neither stdin nor stdout, which
 * carry the SSH stream.
 * @param ended called once the process has ended or could not be started
 */
export function startCredentials(
  paths: Paths,
  { id, profile, region }: Extract<AgentReply, { type: 'resolve-credentials' }>,
  ended: () => void,
): void {
  const options = [
    ...['--config-dir', paths.dir, '--id', id],
    ...(profile === undefined ? [] : ['--profile', profile]),
    ...(region === undefined ? [] : ['--region', region]),
  ];
  const { file, words } = ownProcess(['credentials', ...options], { keepsEnvironment: true });
  const child = spawn(file, words, {
    stdio: ['ignore', 'ignore', 'inherit'],
    windowsHide: true,
  });
  child.once('error', ended).once('exit', ended);
  child.unref();
}
