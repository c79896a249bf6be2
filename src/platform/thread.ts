import { getAsset, isSea } from 'node:sea';
import { Worker, type WorkerOptions } from 'node:worker_threads';

/**
 * Starts a worker thread from one of the program's own modules.
 *
 * From source it is the module itself; in the single executable, which has no modules on disk, it is the
 * bundle of that module, kept as a part of that name (build/bundle.ts puts it there).
 */
export function startThread(name: 'aws', module: URL, options: WorkerOptions): Worker {
  if (isSea()) {
    const loader = getAsset('load-part.cjs', 'utf8');
    return new Worker(`${loader}loadPart('${name}');`, { ...options, eval: true });
  }
  return new Worker(module, options);
}
