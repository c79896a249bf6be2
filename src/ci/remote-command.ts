/** What ssh is given as a command: it joins its words with blanks, and the VM's shell splits them again. */

/** One word is a line for the VM's shell; of several, each arrives as it is here. */
export function remoteCommandLine(words: readonly string[]): string {
  const [line = '', ...more] = words;
  return more.length === 0 ? line : words.map(quotedForShell).join(' ');
}

function quotedForShell(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
