/** Commands as sshd takes them: one line, which the user's login shell on the VM reads. */

/**
 * One word is a line for the VM's shell, passed on unchanged. Several words are a program and its arguments, and arrive
 * as exactly these words.
 */
export function remoteCommandLine(words: readonly string[]): string {
  const [line = '', ...more] = words;
  return more.length === 0 ? line : remoteWords(words);
}

/** A line that a POSIX shell splits into exactly these words, none of which it takes for an assignment or a keyword. */
export function remoteWords(words: readonly string[]): string {
  return words.map((word, index) => quoteForShell(word, index === 0)).join(' ');
}

function quoteForShell(word: string, isProgram: boolean): string {
  // `FOO=1` would set a variable, and `time` or `if` start a compound command. A path is neither.
  const isPlain = isProgram ? /^[\w@%+:,.-]*\/[\w@%+:,./-]*$/ : /^[\w@%+=:,./-]+$/;
  return isPlain.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
