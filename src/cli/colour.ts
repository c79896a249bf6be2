const [alarming, plain] = ['\u001b[1;31m', '\u001b[0m'];
const rule = /^={8,}$/;

/** Whether to use colours, by the environment alone: under ssh, stderr may be /dev/null while we write to the terminal. */
export function hasColour(environment: NodeJS.ProcessEnv): boolean {
  const term = environment['TERM'] ?? '';
  return term !== '' && term !== 'dumb' && (environment['NO_COLOR'] ?? '') === '';
}

/** Paints a framed warning: the lines of `=` and the heading between the first two of them become bold red. */
export function paintFrame(lines: readonly string[]): string[] {
  let rules = 0;
  return lines.map((line) => {
    if (rule.test(line)) rules++;
    else if (rules !== 1) return line;
    return `${alarming}${line}${plain}`;
  });
}

const codes = { red: '31', green: '32', yellow: '33', dim: '2', bold: '1' } as const;

export type Style = keyof typeof codes;

/** Paints text for stdout, if stdout is a terminal with colours. */
export function painter(
  environment: NodeJS.ProcessEnv = process.env,
): (style: Style, text: string) => string {
  const isOn = process.stdout.isTTY === true && hasColour(environment);
  return (style, text) => (isOn ? `\u001b[${codes[style]}m${text}${plain}` : text);
}
