/** Key exchanges between real programs, recorded in files. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export type Side = 'client' | 'server';

export interface Turn {
  readonly side: Side;
  readonly bytes: Buffer;
}

/** The recorder's options, and the properties of the host key by the server's own tools. */
export interface Facts {
  readonly keyExchange: string;
  readonly hostKeyAlgorithm: string;
  readonly fingerprint: string;
}

export interface Recording extends Facts {
  readonly name: string;
  /** The chunks of both sides in order of arrival, up to a few bytes after each side's NEWKEYS. */
  readonly turns: readonly Turn[];
}

export const recordingsDirectory = join(import.meta.dirname, 'recordings');

export function readRecordings(): Recording[] {
  const files = readdirSync(recordingsDirectory).filter((file) => file.endsWith('.json'));
  return files.sort().map((file) => {
    const text = readFileSync(join(recordingsDirectory, file), 'utf8');
    const { turns, ...facts } = JSON.parse(text) as Facts & { turns: string[] };
    const name = file.replace(/\.json$/, '');
    return { name, ...facts, turns: turns.map(parseTurn) };
  });
}

function parseTurn(line: string): Turn {
  const [side, bytes] = line.split(' ');
  if (side !== 'client' && side !== 'server') throw new Error(`a turn of neither side: ${line.slice(0, 20)}`);
  return { side, bytes: Buffer.from(bytes ?? '', 'base64') };
}

/** One turn per line, so that a diff of a recording is readable. */
export function writeRecording({ name, turns, ...facts }: Recording): void {
  const lines = [
    ...Object.entries(facts).map(([key, value]) => `  ${JSON.stringify(key)}: ${JSON.stringify(value)},`),
    '  "turns": [',
    turns.map(({ side, bytes }) => `    "${side} ${bytes.toString('base64')}"`).join(',\n'),
    '  ]',
  ];
  mkdirSync(recordingsDirectory, { recursive: true });
  writeFileSync(join(recordingsDirectory, `${name}.json`), `{\n${lines.join('\n')}\n}\n`);
}

/**
 * The position after the NEWKEYS of one side; undefined before that. It does not use the code under test, so that the
 * two check each other.
 */
export function behindNewKeys(stream: Buffer): number | undefined {
  const banner = stream.indexOf('SSH-');
  let at = stream.indexOf('\n', banner) + 1;
  if (banner < 0 || at === 0) return undefined;
  while (at + 6 <= stream.length) {
    const isNewKeys = stream[at + 5] === 21;
    at += 4 + stream.readUInt32BE(at);
    if (isNewKeys) return at;
  }
  return undefined;
}
