/** Key exchanges between real programs, as files: recorded once, replayed for ever. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export type Side = 'client' | 'server';

export interface Turn {
  readonly side: Side;
  readonly bytes: Buffer;
}

/** What the recorder asked for, and what the server's own tools say of its key. */
export interface Facts {
  readonly keyExchange: string;
  readonly hostKeyAlgorithm: string;
  readonly fingerprint: string;
}

export interface Recording extends Facts {
  readonly name: string;
  /** The chunks of both sides in the order they came, to a few bytes behind each side's NEWKEYS. */
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

/** One turn to a line, so that a new recording is a readable change. */
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
 * Where the bytes of one side stand behind its NEWKEYS; undefined before that. It is written apart from the
 * code under test, to have an opinion of its own.
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
