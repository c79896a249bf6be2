/** `keys doctor`: prints what was repaired in the store, and what the user has to do. */
import { existsSync } from 'node:fs';
import { hint, printable, say } from '../../cli/terminal.ts';
import { listKeys } from '../../keys/store/key-store.ts';
import { repairStore } from '../../keys/store/repair.ts';
import { quoted } from '../../platform/files.ts';

/** @returns 1 if the user has to do something, else 0 */
export async function repairKeys(directory: string): Promise<number> {
  if (!existsSync(directory)) {
    say(`no key store yet: ${quoted(directory)}`);
    return 0;
  }
  const findings = await repairStore(directory);
  for (const { what, remedy } of findings) {
    if (remedy === 'repaired') say(`repaired: ${printable(what)}`);
    else if (remedy === 'left') say(`note: ${printable(what)}`);
    else {
      say(`error: ${printable(what)} (key-store)`);
      hint(remedy.hint);
    }
  }
  if (findings.length === 0) say(`no problems found in ${quoted(directory)}`);
  for (const { name, rotation, hasNext } of listKeys(directory)) {
    if (rotation !== undefined || hasNext)
      hint(`the rotation of ${name} is not finished: \`mint-ssh keys rotate ${name}\``);
  }
  return findings.every(({ remedy }) => typeof remedy === 'string') ? 0 : 1;
}
