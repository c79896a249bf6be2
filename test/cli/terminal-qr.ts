/** Reads a QR code off a terminal, with a decoder of another origin than the encoder's. */
import decodeQR from 'qr/decode.js';

const scale = 4;

/** @param text half-block characters; escape sequences are ignored @returns what a scanner reads @throws if it reads nothing */
export function readTerminalQr(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: colours
  const lines = text.replaceAll(/\u001b\[[\d;]*m/g, '').split(/\r?\n/);
  const modules = lines.flatMap((line) => {
    const characters = [...line];
    return [characters.map((each) => '█▀'.includes(each)), characters.map((each) => '█▄'.includes(each))];
  });
  const width = Math.max(...modules.map(({ length }) => length)) * scale;
  const height = modules.length * scale;
  const data = new Uint8Array(width * height * 4);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const isLight = modules[Math.floor(y / scale)]?.[Math.floor(x / scale)] === true;
      data.set(isLight ? [255, 255, 255, 255] : [0, 0, 0, 255], (y * width + x) * 4);
    }
  }
  return decodeQR({ width, height, data });
}
