/** The interface of a check, and its findings. */
import { MintError } from '../errors.ts';

/** `not-checked`: the message says why. */
export type Status = 'ok' | 'warn' | 'fail' | 'not-checked';

export interface Finding {
  readonly status: Status;
  /** In lower case, without a full stop. May contain untrusted text. */
  readonly message: string;
  /** The command that fixes it, or another remedy. */
  readonly hint?: string | undefined;
  /** The IAM action that AWS denied. */
  readonly deniedAction?: string | undefined;
}

export interface Check {
  /** One or two words; `check` in the output of `--json`. */
  readonly name: string;
  /** The time limit in milliseconds; default: `checkLimit`. */
  readonly limit?: number;
  /** A thrown error becomes a finding. Without findings, nothing is printed. */
  readonly run: () => Promise<readonly Finding[]> | readonly Finding[];
}

export interface Report {
  readonly found: (check: Check, finding: Finding) => void;
  /** Called after each check that ends, with the checks that still run. */
  readonly waiting: (checks: readonly Check[]) => void;
}

/** The default time limit of a check, in milliseconds. */
const checkLimit = 10_000;
/** The time limit in milliseconds of a login and the checks that wait for it: a busy machine may have to start an agent. */
export const loginLimit = 20_000;

/** @returns a finding: the check passed */
export function ok(message: string, hint?: string): Finding {
  return { status: 'ok', message, hint };
}

/** @returns a finding: it works, but may surprise the user */
export function warn(message: string, hint?: string): Finding {
  return { status: 'warn', message, hint };
}

/** @returns a finding: it does not work */
export function fail(message: string, hint?: string): Finding {
  return { status: 'fail', message, hint };
}

/** @param why such as `no AWS credentials` */
export function notChecked(why: string): Finding {
  return { status: 'not-checked', message: `not checked: ${why}` };
}

/** `1 VM`, `3 VMs`. */
export function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? '' : 's'}`;
}

/** @returns the error as a finding, with its message and hint */
export function failed(error: unknown, status: Status = 'fail'): Finding {
  if (!(error instanceof MintError)) return { status, message: `this check failed: ${String(error)}` };
  return { status, message: `${error.message} (${error.code})`, hint: error.hint };
}

/** Runs all checks at the same time, and reports them in order. */
export async function runChecks(checks: readonly Check[], report: Report): Promise<void> {
  const pending = new Set(checks);
  const running = checks.map((check) => ({
    check,
    findings: limited(check).finally(() => {
      pending.delete(check);
      report.waiting([...pending]);
    }),
  }));
  report.waiting(checks);
  for (const { check, findings } of running) {
    for (const finding of await findings) report.found(check, finding);
  }
}

async function limited(check: Check): Promise<readonly Finding[]> {
  const { limit = checkLimit } = check;
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<readonly Finding[]>((resolve) => {
    const finding = fail(`no answer within ${limit / 1000} s`);
    timer = setTimeout(() => resolve([finding]), limit);
  });
  try {
    return await Promise.race([Promise.resolve().then(check.run), late]);
  } catch (error) {
    return [failed(error)];
  } finally {
    clearTimeout(timer);
  }
}
