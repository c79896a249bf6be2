/** Builds commands in sshd's form: one line, which the user's login shell on the VM reads. */

/**
 * @param words one word is a line for the VM's shell and stays unchanged; several words are a program and its arguments
 * @returns the line for sshd
 */
export function remoteCommandLine(words: readonly string[]): string {
  const [line = '', ...more] = words;
  return more.length === 0 ? line : remoteWords(words);
}

/** @returns a line that a POSIX shell splits into exactly these words, without reading one as an assignment or keyword */
export function remoteWords(words: readonly string[]): string {
  return words.map((word, index) => quoteForShell(word, index === 0)).join(' ');
}

function quoteForShell(word: string, isProgram: boolean): string {
  // `FOO=1` would set a variable, and `time` or `if` would start a compound command. A path does neither.
  const isPlain = isProgram ? /^[\w@%+:,.-]*\/[\w@%+:,./-]*$/ : /^[\w@%+=:,./-]+$/;
  return isPlain.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
