/** For `assert.throws`: accepts only a MintError of this code. */
import assert from 'node:assert/strict';
import { type ErrorCode, MintError } from '../../src/errors.ts';

export function refusal(
  code: ErrorCode,
  { unsafe = true, message }: { unsafe?: boolean; message?: RegExp } = {},
): (error: unknown) => true {
  return (error) => {
    assert.ok(error instanceof MintError, `not one of our errors: ${String(error)}`);
    assert.equal(error.code, code);
    assert.equal(error.unsafe, unsafe, error.message);
    if (message !== undefined) assert.match(error.message, message);
    return true;
  };
}
