import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

let collect: (() => void) | undefined;

/**
 * Forces a collection soon: a private key that was let go stays in memory until there is one. V8 offers it
 * only behind a flag; a fresh context sees the function, the program's own global object never does.
 */
export function collectGarbage(): void {
  setTimeout(() => {
    if (collect === undefined) {
      setFlagsFromString('--expose-gc');
      collect = runInNewContext('gc') as () => void;
    }
    collect();
  }, 0).unref();
}
