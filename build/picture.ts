/**
 * Draws docs/demo.svg, the picture of README: two scenes of `mint-ssh demo`, as it prints them on a terminal of 80 columns.
 *
 *     node build/picture.ts
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { root } from './bundle.ts';
import { type Line, linesOf, svgOf } from './terminal-svg.ts';

const columns = 80;
export const pictureFile = join(root, 'docs/demo.svg');

/** The scenes that are shown, by the number that the demo gives them. */
const shown = [1, 3];

/** Runs the built program's demo on a terminal. @returns its lines @throws if it fails */
export async function demoLines(): Promise<Line[]> {
  const home = mkdtempSync(join(tmpdir(), 'mint-picture-'));
  try {
    const { PATH } = process.env;
    const child = spawn(
      'script',
      ['-qec', `stty cols ${columns} rows 50; exec "$PROGRAM" demo`, '/dev/null'],
      {
        env: {
          PATH,
          HOME: home,
          LANG: 'C.UTF-8',
          TERM: 'xterm-256color',
          SHELL: '/bin/sh',
          PROGRAM: join(root, 'dist/mint-ssh'),
        },
        stdio: ['pipe', 'pipe', 'inherit'],
      },
    );
    const chunks: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
    const status = await new Promise((resolve, reject) => {
      child.once('error', reject).once('close', resolve);
    });
    const output = Buffer.concat(chunks).toString();
    if (status !== 0) throw new Error(`the demo ended with status ${status}:\n${output}`);
    return await linesOf(output, columns);
  } finally {
    rmSync(home, { recursive: true, force: true });
  }
}

/** @param lines the whole demo @returns the lines of the picture */
export function pictureLines(lines: readonly Line[]): Line[] {
  const starts = lines.flatMap(({ text }, at) => (/^\d\. /.test(text) ? [at] : []));
  return shown.flatMap((scene, index) => {
    const part = lines.slice(starts[scene - 1], starts[scene]);
    // The last scene's blank lines at the end go; between scenes one stays.
    while (part.at(-1)?.text === '') part.pop();
    return index === 0 ? part : [{ text: '', spans: [], isWrapped: false }, ...part];
  });
}

/** @returns the text with what differs in each run replaced: keys, times and dates */
export function normal(text: string): string {
  return text
    .replaceAll(/SHA256:[\w+/]{43}/g, 'SHA256:…')
    .replaceAll(/\d+ ms\b/g, '… ms')
    .replaceAll(/\d{4}-\d\d-\d\d \d\d:\d\d UTC/g, '… UTC');
}

if (import.meta.main) {
  const lines = pictureLines(await demoLines());
  writeFileSync(
    pictureFile,
    svgOf(lines, columns, 'mint-ssh demo: the first login, and the warning about a changed host key'),
  );
}
