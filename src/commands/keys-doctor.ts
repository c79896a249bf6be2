/** `keys doctor`: the store as it is found, what was mended in it, and what a person has to do. */
import { existsSync } from 'node:fs';
import { hint, printable, say } from '../cli/terminal.ts';
import { listKeys } from '../keys/store/key-store.ts';
import { repairStore } from '../keys/store/repair.ts';
import { quoted } from '../platform/files.ts';

/** Exit status 1 where something is left to a person. */
export async function repairKeys(directory: string): Promise<number> {
  if (!existsSync(directory)) {
    say(`there is no store yet: ${quoted(directory)}`);
    return 0;
  }
  const findings = await repairStore(directory);
  for (const { what, remedy } of findings) {
    say(remedy === 'mended' ? `mended: ${printable(what)}` : `error: ${printable(what)} (key-store)`);
    if (remedy !== 'mended') hint(remedy.hint);
  }
  if (findings.length === 0) say(`all is well in ${quoted(directory)}`);
  for (const { name, rotation } of listKeys(directory)) {
    if (rotation !== undefined)
      hint(`the rotation of ${name} is not finished: \`mint-ssh keys rotate ${name}\``);
  }
  return findings.every(({ remedy }) => remedy === 'mended') ? 0 : 1;
}
