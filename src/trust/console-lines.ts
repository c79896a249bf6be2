/** The lines of an instance's serial console, without the prefixes and escapes that consoles add. */

export interface ConsoleLine {
  /** The line without escapes. */
  readonly whole: string;
  /** The line without a time and a program's name at its start. */
  readonly content: string;
}

/** EC2 keeps the last 64 KB. */
const keptBytes = 64 * 1024;
/** If the output is closer to that limit than this, earlier output may have scrolled out. */
const marginBytes = 1024;
/** The longest useful line, that of a 16384 bit RSA key, has about 2,800 characters. */
const longestLine = 8 * 1024;
/** Firmware, boot loader or kernel appear within this many lines. */
const firstLines = 40;

/** ECMA-48: control sequences, operating system commands, two-character escapes. */
const escapes =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: an escape is a control character
  /\x1b(?:\[[0-?]{0,32}[ -/]{0,4}[@-~]|\][^\x07\x1b\r\n]{0,256}(?:\x07|\x1b\\)|[ -/]{0,4}[0-Z\\-~])/g;
// biome-ignore lint/suspicious/noControlCharactersInRegex: a line of text must not have these
const controls = /[\0-\x08\x0b\x0c\x0e-\x1f\x7f]/g;

/**
 * `<14>`, `[   12.345678] `, `Jan  1 00:00:00 `, `cloud-init[1234]: ` or `ec2: `, each at most once and in this order. Other
 * programs' names are not removed: a client chooses, for example, what sshd logs.
 */
const prefix =
  /^(?:<\d{1,3}>)?(?:\[ {0,8}\d{1,8}\.\d{1,9}\] ?)?(?:[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d )?(?:(?:ec2|cloud-init|ci-info)(?:\[\d{1,8}\])?: ?)?/;

/** @returns the lines of the first 64 KB of an output, without empty ones */
export function consoleLines(text: string): ConsoleLine[] {
  return text
    .slice(0, keptBytes)
    .split('\n')
    .filter((line) => line.length <= longestLine)
    .map((line) => {
      // Consoles add carriage returns at both ends of a line.
      const whole = line.replace(escapes, '').replace(controls, '').trim();
      return { whole, content: whole.replace(prefix, '') };
    })
    .filter(({ whole }) => whole !== '');
}

const firmware = /^(?:SeaBIOS \(|BIOS-|iPXE |BdsDxe: )/;
const kernel = /^(?:\[ {0,8}0\.0{3,9}\] |Linux version \d)/;

/** @returns whether the output begins with the machine's firmware or kernel, and no earlier part can be missing */
export function startsAtBoot(text: string, lines: readonly ConsoleLine[]): boolean {
  if (Buffer.byteLength(text) > keptBytes - marginBytes) return false;
  return lines.slice(0, firstLines).some(({ whole }) => firmware.test(whole) || kernel.test(whole));
}
