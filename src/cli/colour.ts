const [alarming, plain] = ['\u001b[1;31m', '\u001b[0m'];
const rule = /^={8,}$/;

/** By the environment alone: under ssh our stderr may be /dev/null while we write to the terminal itself. */
export function hasColour(environment: NodeJS.ProcessEnv): boolean {
  const term = environment['TERM'] ?? '';
  return term !== '' && term !== 'dumb' && (environment['NO_COLOR'] ?? '') === '';
}

/** Lines with their frame in bold red: the rules of `=`, and what stands between the first two, the heading. */
export function paintFrame(lines: readonly string[]): string[] {
  let rules = 0;
  return lines.map((line) => {
    if (rule.test(line)) rules++;
    else if (rules !== 1) return line;
    return `${alarming}${line}${plain}`;
  });
}
