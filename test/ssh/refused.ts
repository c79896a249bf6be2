/** For conversations that end with a forbidden message. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { refusal } from './refusal.ts';
import { type Turn, tell } from './transcript.ts';

/** Two tests: sends the turns, which must pass, and then one that must be refused. */
export function refused(name: string, turns: readonly Turn[], last: Turn): void {
  test(`${name} is refused`, () => {
    const { observer } = tell(turns);
    const say = (bytes: Buffer): unknown =>
      last.side === 'server' ? observer.server(bytes) : observer.client(bytes);
    assert.throws(() => say(last.bytes), refusal('not-ssh'));
  });
  test(`${name} is refused byte by byte, before its last byte passes`, () => {
    const { observer } = tell(turns);
    assert.throws(() => {
      for (let at = 0; at < last.bytes.length; at++) {
        const byte = last.bytes.subarray(at, at + 1);
        if (last.side === 'server') observer.server(byte);
        else observer.client(byte);
      }
    }, refusal('not-ssh'));
  });
}
