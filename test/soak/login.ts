/** One login that sends a payload there and back, and its result. */
import { createHash } from 'node:crypto';
import type { Child, World } from '../openssh/world.ts';

export type Outcome =
  /** The payload came back unchanged. */
  | { readonly kind: 'intact' }
  /** It failed with one of our codes. */
  | { readonly kind: 'code'; readonly code: string; readonly message: string }
  /** The connection broke, with a message of ssh or the proxy. */
  | { readonly kind: 'cut'; readonly inSession: boolean }
  /** The VM refused, with a message of ssh only: its agent did not answer. */
  | { readonly kind: 'denied' }
  /** The client itself was killed. */
  | { readonly kind: 'killed' }
  /** A defect: changed bytes, a failure without a code, or a hang. */
  | { readonly kind: 'broken'; readonly why: string };

export interface Login {
  readonly child: Child;
  readonly vm: string;
  readonly outcome: Promise<Outcome>;
}

/** Longer than any time limit of ours: what takes longer has no end. */
const limit = 120_000;
const begun = 'begun\n';

/** @param wrap words to start ssh with, such as a shell that lowers its limits */
export function startLogin(world: World, vm: string, payload: Buffer, wrap: readonly string[] = []): Login {
  const words = [...wrap, 'ssh', '-F', world.sshConfigFile, vm, 'echo begun; cat'];
  const child = world.start(words[0] ?? 'ssh', words.slice(1), {
    input: payload,
    timeout: limit,
    hashOutput: true,
  });
  const whole = createHash('sha256').update(begun).update(payload).digest('hex');
  const expected = `${begun.length + payload.length} ${whole}`;
  const outcome = child.done.then(
    ({ status, signal, stdout, stderr }): Outcome => {
      if (signal === 'SIGKILL') return { kind: 'killed' };
      if (status === 0)
        return stdout === expected
          ? { kind: 'intact' }
          : { kind: 'broken', why: `status 0, but ${stdout} came back and not ${expected}; ${stderr}` };
      return failure(status, stderr, Number(stdout.split(' ')[0]) > 0);
    },
    (error: Error): Outcome => ({ kind: 'broken', why: error.message }),
  );
  return { child, vm, outcome };
}

/** OpenSSH's and the proxy's words for a connection that was cut. */
const cutWords =
  /mint-ssh: the connection to \S+ broke|Connection (?:to \S+ )?closed by|Connection reset by|client_loop: |Broken pipe|Connection closed/;

function failure(status: number | null, stderr: string, inSession: boolean): Outcome {
  if (/internal error|^ +at .*:\d+:\d+\)?$/m.test(stderr))
    return { kind: 'broken', why: `an internal error: ${stderr}` };
  const [, message = '', code] = /^mint-ssh: error: (.*) \(([a-z-]+)\)\r?$/m.exec(stderr) ?? [];
  if (code !== undefined) return { kind: 'code', code, message };
  if (/^\S+: Permission denied \(/m.test(stderr)) return { kind: 'denied' };
  if (cutWords.test(stderr)) return { kind: 'cut', inSession };
  return { kind: 'broken', why: `status ${status} in no words of ours: ${stderr}` };
}
