/** Programs for Windows, run by Wine in a root of its own that prove.sh has made. */
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { type Child, type RunOptions, startChild } from '../openssh/child.ts';

/** Where everything of Windows is, as the root has it; `Z:` is the root. */
const home = '/wine';
const prefix = `${home}/prefix`;

export interface Wine {
  /** The user's profile, as a path of this machine. */
  readonly profile: string;
  /** A file as a path of this machine, and as Windows has it; what is in `bin` is found by its name. */
  here(name: string): string;
  there(name: string): string;
  start(program: string, words: readonly string[], options?: RunOptions): Child;
  /** The same at a console, where what is written to `stdin` is typed; `stdout` is what it shows. */
  startOnConsole(program: string, words: readonly string[]): Child;
  /** Ends every program for Windows that runs. */
  end(): Promise<void>;
}

/** A child of Node's has Unix sockets for its streams, which Wine knows no handles for. */
const script = `
out=$1; shift
cat | wine "$@" >"$out" 2>"$out-errors"
status=$?
cat "$out"; cat "$out-errors" >&2
exit $status`;

/** @param root a Debian with Wine, its directory `/wine` the proof's own */
export async function startWine(root: string, environment: Readonly<Record<string, string>>): Promise<Wine> {
  rmSync(join(root, prefix), { recursive: true, force: true });
  mkdirSync(join(root, home, 'bin'), { recursive: true, mode: 0o700 });
  const variables = {
    ...environment,
    PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    // Git Bash sets one too, which must be ignored.
    HOME: '/root',
    WINEPREFIX: prefix,
    WINEPATH: `Z:${home.replaceAll('/', '\\')}\\bin`,
    WINEDEBUG: '-all',
    WINEDLLOVERRIDES: 'mscoree,mshtml=',
  };
  let outputs = 0;
  const run = (words: readonly string[], options?: RunOptions) =>
    startChild('chroot', [root, 'env', `--chdir=${home}`, ...words], variables, options);
  await run(['wineboot', '--init'], { timeout: 120_000 }).done;
  return {
    profile: join(root, prefix, 'drive_c/users/root'),
    here: (name) => join(root, home, name),
    there: (name) => `Z:${home.replaceAll('/', '\\')}\\${name.replaceAll('/', '\\')}`,
    start(program, words, options) {
      outputs += 1;
      return run(['sh', '-c', script, 'sh', `${home}/output-${outputs}`, program, ...words], options);
    },
    startOnConsole: (program, words) =>
      run(['script', '-qefc', ['wine', program, ...words].map(quoted).join(' '), '/dev/null'], {
        holdInput: true,
        timeout: 90_000,
      }),
    async end() {
      await run(['wineserver', '--kill']).done;
    },
  };
}

function quoted(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}
