/** Starts the agent on demand: detached, with nothing inherited, once however many ask. */
import { spawn } from 'node:child_process';
import { closeSync, openSync, rmSync, statSync } from 'node:fs';
import { join, parse } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { MintError } from '../errors.ts';
import { ensureClosedDirectory, ensurePrivateDirectory } from '../platform/files.ts';
import { agentEnvironment } from '../platform/hardening.ts';
import type { Paths } from '../platform/paths.ts';
import { ownProcess } from '../platform/program.ts';
import { type ControlConnection, type ControlListener, connectControl } from './control/client.ts';
import type { FailureReply } from './control/protocol.ts';

/** How long a connection waits for an agent to come up, in milliseconds. */
const startLimit = 8000;
/** How long the one who starts an agent may take before another tries, in milliseconds. */
const turnLimit = 2000;

/**
 * Connects to the agent, starting one where none runs.
 * @throws MintError `agent-unavailable` or `unsafe-permissions`
 */
export async function connectOrStart(paths: Paths, listener: ControlListener): Promise<ControlConnection> {
  const running = await connectControl(paths, listener);
  if (running !== undefined) return running;
  ensurePrivateDirectory(paths.dir);
  ensureClosedDirectory(paths.run);
  const turn = join(paths.run, 'starting');
  for (const deadline = Date.now() + startLimit; Date.now() < deadline; ) {
    if (takeTurn(turn)) {
      try {
        // The one before may have brought it up since we last looked.
        const started = await connectControl(paths, listener);
        if (started !== undefined) return started;
        await startAgent(paths);
      } finally {
        rmSync(turn, { force: true });
      }
    }
    const connection = await connectControl(paths, listener);
    if (connection !== undefined) return connection;
    await sleep(5);
  }
  throw new MintError('agent-unavailable', 'the agent does not start', {
    hint: `its log says why: ${paths.agentLog}`,
  });
}

/** Twenty at once start one: the first to make the file has the turn. The agent's own lock decides, this saves work. */
function takeTurn(path: string): boolean {
  try {
    closeSync(openSync(path, 'wx', 0o600));
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') {
      throw new MintError('io-failed', `cannot write to the run directory: ${(error as Error).message}`, {
        cause: error,
      });
    }
  }
  const age = Date.now() - (statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? Date.now());
  if (Math.abs(age) > turnLimit) rmSync(path, { force: true });
  return false;
}

/** What an agent says where it cannot close its stderr: libuv closes none of the first three on Windows. */
export const readySign = '\n';

/**
 * Resolves when the agent listens, or when it found another one running. Its stderr is a pipe only until
 * then: it says there why it cannot run, as one line of JSON, or closes it.
 */
function startAgent(paths: Paths): Promise<void> {
  const { file, words } = ownProcess(['agent', '--background', '--config-dir', paths.dir]);
  const child = spawn(file, words, {
    detached: true,
    // On Windows a detached program would get a console window of its own.
    windowsHide: true,
    cwd: parse(paths.run).root,
    env: agentEnvironment(process.env),
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  child.unref();
  return new Promise((resolve, reject) => {
    const said: Buffer[] = [];
    // Without a descriptor to spare there is no pipe: then the error alone tells.
    child.stderr?.on('data', (bytes: Buffer) => {
      if (bytes.toString() === readySign) child.stderr?.destroy();
      else said.push(bytes);
    });
    child.once('error', (cause) => {
      reject(new MintError('agent-unavailable', `cannot start the agent: ${cause.message}`, { cause }));
    });
    child.stderr?.once('close', () => {
      const failure = parseFailure(Buffer.concat(said).toString('utf8'));
      if (failure === undefined) resolve();
      else reject(failure);
    });
  });
}

function parseFailure(said: string): MintError | undefined {
  if (said.trim() === '') return undefined;
  try {
    const { code, message, hint } = JSON.parse(said) as FailureReply;
    return new MintError(code, message, { hint });
  } catch {
    const firstLine = said.trim().split('\n')[0];
    return new MintError('agent-unavailable', `the agent does not start: ${firstLine}`);
  }
}
