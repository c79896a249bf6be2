/** Draws what a program printed on a terminal as an SVG. */
import headless from '@xterm/headless';

/** A run of characters that look alike. */
interface Span {
  readonly column: number;
  readonly text: string;
  /** Names of classes of the style sheet below. */
  readonly look: string;
}

export interface Line {
  readonly text: string;
  readonly spans: readonly Span[];
  /** The row before it was too long for the terminal and goes on here. */
  readonly isWrapped: boolean;
}

/** @param output as it came from the terminal, escape sequences included @returns its lines, in colour */
export async function linesOf(output: string, columns: number): Promise<Line[]> {
  const terminal = new headless.Terminal({ cols: columns, rows: 500, allowProposedApi: true });
  await new Promise<void>((resolve) => terminal.write(output, resolve));
  const buffer = terminal.buffer.active;
  const lines: Line[] = [];
  for (let row = 0; row < buffer.baseY + buffer.cursorY; row++) {
    const line = buffer.getLine(row);
    if (line === undefined) break;
    const spans: { column: number; text: string; look: string }[] = [];
    const text = line.translateToString(true);
    for (let column = 0; column < text.length; column++) {
      const cell = line.getCell(column);
      const look = [
        ...(cell?.isBold() ? ['bold'] : []),
        ...(cell?.isDim() ? ['dim'] : []),
        ...(cell?.isFgPalette() ? [`c${cell.getFgColor()}`] : []),
      ].join(' ');
      const last = spans.at(-1);
      if (last?.look === look) last.text += cell?.getChars() || ' ';
      else spans.push({ column, text: cell?.getChars() || ' ', look });
    }
    lines.push({ text, spans, isWrapped: line.isWrapped });
  }
  terminal.dispose();
  return lines;
}

const [advance, height, size, margin] = [8.4, 19, 14, 16];

/** Colours by class: in a light page, in a dark one. No font is fetched: these are the ones that systems have. */
const style = `
  text { font: ${size}px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", "Liberation Mono", monospace;
    fill: #1f2328; white-space: pre }
  rect { fill: #f6f8fa; stroke: #d1d9e0 }
  .bold { font-weight: bold } .dim { fill: #59636e }
  .c1 { fill: #b3121d } .c2 { fill: #116329 } .c3 { fill: #7d4e00 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } rect { fill: #161b22; stroke: #3d444d }
    .dim { fill: #9198a1 } .c1 { fill: #ff7b72 } .c2 { fill: #3fb950 } .c3 { fill: #d29922 }
  }
`;

/** @param description for readers who do not see it @returns an SVG whose text can be selected, and read back by `textOf` */
export function svgOf(lines: readonly Line[], columns: number, description: string): string {
  const [width, total] = [columns * advance + 2 * margin, lines.length * height + 2 * margin];
  const rows = lines.map(({ spans }, row) => {
    const y = margin + row * height + size;
    const parts = spans
      .filter(({ text }) => text.trim() !== '')
      .map(({ column, text, look }) => {
        const x = (margin + column * advance).toFixed(1);
        // Columns stay in place in any font.
        const length = (text.length * advance).toFixed(1);
        const name = look === '' ? '' : ` class="${look}"`;
        return `<tspan x="${x}" textLength="${length}"${name}>${escaped(text)}</tspan>`;
      });
    return `  <text y="${y}" xml:space="preserve">${parts.join('')}</text>`;
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${total}" width="${width}" height="${total}" role="img">`,
    `  <title>${escaped(description)}</title>`,
    `  <style>${style}  </style>`,
    `  <rect x="0.5" y="0.5" width="${width - 1}" height="${total - 1}" rx="6" />`,
    ...rows,
    '</svg>',
    '',
  ].join('\n');
}

/** @returns the lines of a picture that `svgOf` drew */
export function textOf(svg: string): string[] {
  return [...svg.matchAll(/<text [^>]*>(.*)<\/text>/g)].map(([, spans = '']) => {
    let line = '';
    for (const [, x = '', text = ''] of spans.matchAll(/<tspan x="([\d.]+)"[^>]*>([^<]*)<\/tspan>/g))
      line = line.padEnd(Math.round((Number(x) - margin) / advance)) + plain(text);
    return line.trimEnd();
  });
}

const entities = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' } as const;

function escaped(text: string): string {
  return text.replaceAll(/[&<>"]/g, (character) => entities[character as keyof typeof entities]);
}

function plain(text: string): string {
  return Object.entries(entities).reduceRight(
    (all, [character, entity]) => all.replaceAll(entity, character),
    text,
  );
}
