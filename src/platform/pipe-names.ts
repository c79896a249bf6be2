/**
 * Windows: the names of our pipes, and the secret they are made of.
 *
 * Node cannot give a pipe an access list of its own. By the default one other users cannot write to our pipes, but the
 * names of all pipes are visible to every user, and the first process to create a pipe owns its name. So a name cannot be
 * guessed before the pipe is there, and holds no trust once it was seen: see src/agent/control/proof.ts.
 */

import { createHmac, randomBytes } from 'node:crypto';
import { closeSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { MintError } from '../errors.ts';
import { ensureClosedDirectory, ioFailed, quoted, readPrivateFile } from './files.ts';
import { sleepSync } from './sleep.ts';

const secretBytes = 32;
const secretForm = /^([0-9a-f]{64})\n$/;
/** How long another process may take to write the secret it is making, in milliseconds. */
const patience = 1000;
const pause = 10;

/** The same for the same secret and words, a name that says nothing about either. */
export function pipeName(secret: Buffer, ...words: readonly string[]): string {
  const sum = createHmac('sha256', secret).update(JSON.stringify(['name', ...words]));
  return pipePath(sum.digest('hex').slice(0, 32));
}

/** A name for a pipe of this process alone, for as long as it runs. */
export function singlePipeName(): string {
  return pipePath(randomBytes(16).toString('hex'));
}

function pipePath(name: string): string {
  return `\\\\.\\pipe\\mint-ssh-${name}`;
}

/**
 * The secret of a run directory, created if it does not exist. The names are in ssh's config, so a restart of the agent does
 * not change them.
 * @throws MintError `io-failed`, `unsafe-permissions`
 */
export function pipeSecret(run: string): Buffer {
  ensureClosedDirectory(run);
  const path = secretPath(run);
  try {
    const descriptor = openSync(path, 'wx', 0o600);
    try {
      writeSync(descriptor, `${randomBytes(secretBytes).toString('hex')}\n`);
    } finally {
      closeSync(descriptor);
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw ioFailed('write', path, error);
  }
  const secret = knownPipeSecret(run);
  if (secret === undefined) throw new MintError('io-failed', `${quoted(path)} was removed just now`);
  return secret;
}

/**
 * The same, undefined where none was made: then no agent can be there.
 * @throws MintError `io-failed`
 */
export function knownPipeSecret(run: string): Buffer | undefined {
  const path = secretPath(run);
  for (const deadline = performance.now() + patience; ; sleepSync(pause)) {
    const text = readPrivateFile(path, { maxBytes: 1024, secret: true })?.toString('latin1');
    if (text === undefined) return undefined;
    const [, secret] = secretForm.exec(text) ?? [];
    if (secret !== undefined) return Buffer.from(secret, 'hex');
    // Made at this very moment, it is there before it is written.
    if (performance.now() > deadline) {
      throw new MintError('io-failed', `${quoted(path)} is not what mint-ssh has written`, {
        hint: 'remove it, and write the blocks again: mint-ssh ssh-config',
      });
    }
  }
}

function secretPath(run: string): string {
  return join(run, 'pipes');
}
