/** The documents, as the tests read them. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

export const root = join(import.meta.dirname, '../..');

/** Every document, by its path from the checkout. */
export const pages: readonly string[] = [
  ...readdirSync(root).filter((name) => name.endsWith('.md')),
  ...readdirSync(join(root, 'docs'))
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
].sort();

export function pageText(page: string): string {
  return readFileSync(join(root, page), 'utf8');
}

export interface Fence {
  readonly page: string;
  readonly line: number;
  /** The word after the backticks: `sh`, `toml`, … */
  readonly language: string;
  readonly text: string;
}

/** The fenced blocks of a page, in their order. */
export function fences(page: string): Fence[] {
  const text = pageText(page);
  return [...text.matchAll(/^( *)```([a-z]*)\n([\s\S]*?)^\1```$/gm)].map((match) => ({
    page,
    line: text.slice(0, match.index).split('\n').length,
    language: match[2] ?? '',
    text: match[3] ?? '',
  }));
}

/** The rows of the tables of a page: their cells, without the head and the rule below it. */
export function tableRows(text: string): string[][] {
  const lines = text.split('\n');
  return lines
    .filter(
      (line, index) => line.startsWith('|') && !line.startsWith('|-') && !lines[index + 1]?.startsWith('|-'),
    )
    .map((line) =>
      line
        .replace(/^\| ?/, '')
        .replace(/ ?\|$/, '')
        .split(/ \| |(?<!\\)\|/)
        .map((cell) => cell.trim()),
    );
}

/** The texts in backticks, in order. */
export function codeWords(text: string): string[] {
  return [...text.matchAll(/`([^`]+)`/g)].map(([, word = '']) => word);
}

/** From a heading's line to the next heading of the same level or above. @throws if there is none */
export function section(page: string, heading: string): string {
  const text = pageText(page);
  const start = text.indexOf(`\n${heading}\n`);
  if (start === -1) throw new Error(`${page} has no ${heading}`);
  const rest = text.slice(start + heading.length + 2);
  const end = rest.search(new RegExp(`^#{1,${heading.indexOf(' ')}} `, 'm'));
  return end === -1 ? rest : rest.slice(0, end);
}
