import { mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { MintError } from '../../src/errors.ts';

/** A private temporary directory, removed when the test ends. */
export function ownDirectory(context: TestContext): string {
  const directory = realpathSync(mkdtempSync(join(tmpdir(), 'mint-test-')));
  context.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** For `assert.throws`: a MintError with this code, whose message matches. */
export function refusal(code: MintError['code'], message = /./): (error: unknown) => boolean {
  return (error) => {
    if (!(error instanceof MintError)) throw error;
    if (error.code !== code) throw new Error(`${error.code} instead of ${code}: ${error.message}`);
    if (!message.test(error.message)) throw new Error(`${message} does not match ${error.message}`);
    return true;
  };
}

export const isRoot = process.getuid?.() === 0;

/** Why a case that needs root is skipped; the result shows it. */
export const needsRoot = isRoot ? false : 'only root can make files that belong to someone else';
