/** QR codes for a terminal. The library is loaded with this file, which only its callers load. */
import { encode } from 'uqr';

/** Light modules around the code. The standard asks for 4; scanners take 2, and a narrow terminal has no more. */
const border = 2;
const [light, dark] = ['\u001b[97;40m', '\u001b[0m'];

/**
 * Draws a QR code with two modules in each character, one above the other.
 *
 * @param text what the scanner reads
 * @param options `columns`: the width of the terminal; `hasColour`: draws white on black. Without it the code has the
 *   terminal's own colours, which scanners read on a dark background
 * @returns lines; undefined if the terminal is narrower than the code
 */
export function qrCode(
  text: string,
  { columns, hasColour }: { readonly columns: number; readonly hasColour: boolean },
): string | undefined {
  const { data, size } = encode(text, { ecc: 'L', border });
  if (size > columns) return undefined;
  const lines: string[] = [];
  for (let row = 0; row < size; row += 2) {
    const line = Array.from({ length: size }, (_, column) => {
      const [upper, lower] = [data[row]?.[column] ?? false, data[row + 1]?.[column] ?? false];
      // A dark module is true, and not drawn.
      return upper ? (lower ? ' ' : '▄') : lower ? '▀' : '█';
    }).join('');
    lines.push(hasColour ? `${light}${line}${dark}` : line);
  }
  return lines.join('\n');
}
