/** The lines of an instance's serial console, without what consoles put around them. */

export interface ConsoleLine {
  /** As it was printed, without escapes. */
  readonly whole: string;
  /** Without the time and the program's name before it; the same as `whole` where there is neither. */
  readonly content: string;
}

/** EC2 keeps the newest 64 KB. */
const keptBytes = 64 * 1024;
/** Closer to that than this, something may have scrolled out. */
const marginBytes = 1024;
/** The longest line that counts, a 16384 bit RSA key's, has some 2,800 characters. */
const longestLine = 8 * 1024;
/** A machine's firmware, its boot loader and its kernel show within so many lines. */
const firstLines = 40;

/** ECMA-48: control sequences, operating system commands, two-character escapes. */
const escapes =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: an escape is a control character
  /\x1b(?:\[[0-?]{0,32}[ -/]{0,4}[@-~]|\][^\x07\x1b\r\n]{0,256}(?:\x07|\x1b\\)|[ -/]{0,4}[0-Z\\-~])/g;
// biome-ignore lint/suspicious/noControlCharactersInRegex: these have no place in a line of text
const controls = /[\0-\x08\x0b\x0c\x0e-\x1f\x7f]/g;

/**
 * `<14>`, `[   12.345678] `, `Jan  1 00:00:00 `, `cloud-init[1234]: ` or `ec2: `, each at most once and in this order. No
 * other program's name: what sshd logs, for example, is chosen by the client.
 */
const prefix =
  /^(?:<\d{1,3}>)?(?:\[ {0,8}\d{1,8}\.\d{1,9}\] ?)?(?:[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d )?(?:(?:ec2|cloud-init|ci-info)(?:\[\d{1,8}\])?: ?)?/;

/** The lines of the first 64 KB of an output, without empty ones. */
export function consoleLines(text: string): ConsoleLine[] {
  return text
    .slice(0, keptBytes)
    .split('\n')
    .filter((line) => line.length <= longestLine)
    .map((line) => {
      // A carriage return begins no line of its own, but consoles leave them at both ends.
      const whole = line.replace(escapes, '').replace(controls, '').trim();
      return { whole, content: whole.replace(prefix, '') };
    })
    .filter(({ whole }) => whole !== '');
}

const firmware = /^(?:SeaBIOS \(|BIOS-|iPXE |BdsDxe: )/;
const kernel = /^(?:\[ {0,8}0\.0{3,9}\] |Linux version \d)/;

/** Whether the output begins with the machine's firmware or kernel and cannot have lost an earlier part. */
export function startsAtBoot(text: string, lines: readonly ConsoleLine[]): boolean {
  if (Buffer.byteLength(text) > keptBytes - marginBytes) return false;
  return lines.slice(0, firstLines).some(({ whole }) => firmware.test(whole) || kernel.test(whole));
}
