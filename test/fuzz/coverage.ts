/** V8's own block coverage, asked for through the inspector of this very process. */
import { readFileSync } from 'node:fs';
import { type Profiler, Session } from 'node:inspector';
import { fileURLToPath } from 'node:url';

/** What has run since the last look: by module, a byte for each character of its source. */
export type Painted = ReadonlyMap<string, { readonly marks: Uint8Array; readonly spans: Span[] }>;

interface Span {
  readonly start: number;
  readonly end: number;
}

export interface ModuleCoverage {
  readonly functions: number;
  readonly functionsRun: number;
  readonly branches: number;
  readonly branchesRun: number;
}

const sources = new URL('../../src/', import.meta.url);

/** Modules that are to be covered have to be imported after it was made. */
export class Coverage {
  readonly #session = new Session();
  readonly #seen = new Map<string, Uint8Array>();
  readonly #below: string;

  /** @param below the folder whose modules count */
  constructor(below: URL = sources) {
    this.#below = below.href;
    this.#session.connect();
    this.#session.post('Profiler.enable');
    this.#session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });
  }

  /** What has run since the last call. */
  take(): Painted {
    const painted = new Map<string, { marks: Uint8Array; spans: Span[] }>();
    for (const { url, functions } of this.#scripts()) {
      const marks = new Uint8Array(this.#map(url).length);
      const spans: Span[] = [];
      // An outer function or block stands before those inside it, so the inner one is painted over it.
      for (const { ranges } of functions) {
        for (const { startOffset, endOffset, count } of ranges)
          marks.fill(count > 0 ? 1 : 0, startOffset, endOffset);
        const [whole] = ranges;
        if (whole !== undefined) spans.push({ start: whole.startOffset, end: whole.endOffset });
      }
      painted.set(url, { marks, spans });
    }
    return painted;
  }

  /** Whether any of it never ran before. */
  isNews(painted: Painted): boolean {
    return this.#compare(painted, false) > 0;
  }

  /** Remembers it, and tells how many characters of source ran for the first time. */
  remember(painted: Painted): number {
    return this.#compare(painted, true);
  }

  /** From now on everything is news again. */
  forget(): void {
    this.take();
    this.#seen.clear();
  }

  /** By module, below `src/`: counted as Node's own test runner counts functions and branches. */
  count(): ReadonlyMap<string, ModuleCoverage> {
    const counted = this.#scripts().map(({ url, functions }): [string, ModuleCoverage] => {
      const named = functions.filter(({ functionName }) => functionName !== '');
      const ranges = functions.flatMap((each) => (each.isBlockCoverage ? each.ranges : []));
      return [
        url.slice(this.#below.length),
        {
          functions: named.length,
          functionsRun: named.filter(({ ranges: [whole] }) => (whole?.count ?? 0) > 0).length,
          branches: ranges.length,
          branchesRun: ranges.filter(({ count }) => count > 0).length,
        },
      ];
    });
    return new Map(counted);
  }

  close(): void {
    this.#session.post('Profiler.stopPreciseCoverage');
    this.#session.disconnect();
  }

  #scripts(): Profiler.ScriptCoverage[] {
    let scripts: Profiler.ScriptCoverage[] | undefined;
    this.#session.post('Profiler.takePreciseCoverage', (error, answer) => {
      if (error !== null) throw error;
      scripts = answer.result;
    });
    // The session is to this thread itself: the answer comes before `post` returns.
    if (scripts === undefined) throw new Error('the inspector does not answer');
    return scripts.filter(({ url }) => url.startsWith(this.#below));
  }

  #map(url: string): Uint8Array {
    let map = this.#seen.get(url);
    if (map === undefined) {
      map = new Uint8Array(readFileSync(fileURLToPath(url), 'utf8').length + 1);
      this.#seen.set(url, map);
    }
    return map;
  }

  #compare(painted: Painted, remember: boolean): number {
    let news = 0;
    for (const [url, { marks, spans }] of painted) {
      const seen = this.#map(url);
      for (const { start, end } of spans) {
        for (let at = start; at < end; at += 1) {
          if (marks[at] !== 1 || seen[at] === 1) continue;
          news += 1;
          if (remember) seen[at] = 1;
          else return news;
        }
      }
    }
    return news;
  }
}
