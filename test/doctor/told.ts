/** Runs `mint-ssh doctor --json` in a world, and reads its output. */
import assert from 'node:assert/strict';
import { mintProgram, type World } from '../openssh/world.ts';

export interface Row {
  readonly check: string;
  readonly status: 'ok' | 'warn' | 'fail' | 'not-checked';
  readonly message: string;
  readonly hint: string | null;
}

export interface Told {
  readonly status: number | null;
  readonly milliseconds: number;
  readonly rows: readonly Row[];
  /** The rows of one check, as `<status>: <message>` lines. */
  of(check: string): string;
  hint(check: string): string;
}

export async function doctor(
  world: World,
  args: readonly string[],
  env: Record<string, string | undefined> = {},
): Promise<Told> {
  const words = ['doctor', '--json', '--file', world.sshConfigFile, ...args];
  const { status, stdout, stderr, milliseconds } = await world.run(mintProgram, words, {
    env,
    timeout: 60_000,
  });
  assert.equal(stderr, '');
  const rows = JSON.parse(stdout) as Row[];
  const about = (check: string) => rows.filter((row) => row.check === check);
  assert.equal(status, rows.some((row) => row.status === 'fail') ? 1 : 0);
  return {
    status,
    milliseconds,
    rows,
    of: (check) =>
      about(check)
        .map((row) => `${row.status}: ${row.message}`)
        .join('\n'),
    hint: (check) =>
      about(check)
        .map((row) => row.hint ?? '')
        .join('\n'),
  };
}

/** Without a VM: quick, and enough for checks that need no VM. */
export const general = (world: World, env: Record<string, string | undefined> = {}) => doctor(world, [], env);
