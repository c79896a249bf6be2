/** Horizontal bars as SVG, each with the range of its values; text alone, no library. */

export interface Bar {
  readonly name: string;
  readonly median: number;
  readonly low: number;
  readonly high: number;
}

export interface Group {
  readonly title: string;
  readonly bars: readonly Bar[];
}

const width = 860;
const left = 220;
const right = 70;
const lineHeight = 20;

export function plot(title: string, groups: readonly Group[]): string {
  const most = Math.max(...groups.flatMap(({ bars }) => bars.map(({ high }) => high)));
  const x = (value: number) => left + (value / most) * (width - left - right);
  const lines: string[] = [];
  let y = 50;
  for (const group of groups) {
    lines.push(text(12, y, group.title, 'font-weight="bold"'));
    y += lineHeight;
    for (const bar of group.bars) {
      const colour = bar.name.startsWith('mint-ssh') ? '#2f7d4f' : '#8a94a0';
      lines.push(
        text(left - 8, y, bar.name, 'text-anchor="end"'),
        `<rect x="${left}" y="${y - 11}" width="${number(x(bar.median) - left)}" height="13" fill="${colour}"/>`,
        `<path d="M${number(x(bar.low))} ${y - 4.5}H${number(x(bar.high))}" stroke="#222" stroke-width="1.5"/>`,
        text(x(bar.high) + 6, y, bar.median.toFixed(0)),
      );
      y += lineHeight;
    }
    y += lineHeight / 2;
  }
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${y}" viewBox="0 0 ${width} ${y}" font-family="sans-serif" font-size="12">
<title>${title}</title>
<rect width="100%" height="100%" fill="#fff"/>
${text(12, 22, title, 'font-size="15"')}
${lines.join('\n')}
</svg>
`;
}

function text(x: number, y: number, content: string, attributes = ''): string {
  const escaped = content.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
  return `<text x="${number(x)}" y="${y}" ${attributes}>${escaped}</text>`;
}

function number(value: number): string {
  return value.toFixed(1);
}
