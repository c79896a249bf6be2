/** `keys delete`: a key that no one needs any more, here and with `--aws` in EC2. */
import { printable, say } from '../cli/terminal.ts';
import { askOnTerminal } from '../cli/terminal-question.ts';
import { MintError } from '../errors.ts';
import { findKey, readPublicKey, removeKey } from '../keys/store/key-store.ts';
import { blobOfLine } from '../keys/store/key-type.ts';
import type { KeyRecord } from '../keys/store/metadata.ts';
import { ec2Names, withEc2 } from './keys-ec2.ts';
import { type KeysRequest, misused } from './keys-request.ts';

/** Works also where the files are gone: that is how a person says so. */
export async function deleteKey(request: KeysRequest): Promise<number> {
  const { directory, profile, values } = request;
  const key = findKey(directory, profile);
  if (values['force'] !== true && !(await isConfirmed(key))) {
    say('nothing was deleted');
    return 1;
  }
  // First: only the entry knows what it is called there.
  if (values['aws'] === true) await deleteFromEc2(request, key);
  removeKey(directory, key.name);
  say(`the key of ${key.name} is gone`);
  return 0;
}

async function isConfirmed({ name, instances, rotation }: KeyRecord): Promise<boolean> {
  const all = [...new Set([...instances, ...Object.keys(rotation?.instances ?? {})])];
  const used = all.length === 0 ? [] : [`${name} lets you in to ${printable(all.join(', '))}.`, ''];
  const answer = await askOnTerminal({
    framed: used.join('\n'),
    prompt: `Delete the key of ${name}? It cannot be brought back. (yes/no) `,
    accepts: ['yes'],
    seconds: Number.POSITIVE_INFINITY,
  });
  if (answer !== 'nobody') return answer === 'yes';
  if (all.length > 0) say(`${name} is used by ${printable(all.join(', '))}`);
  throw new MintError('usage', 'there is no terminal to ask on, and nothing was deleted', {
    hint: 'run it again with --force',
  });
}

async function deleteFromEc2(request: KeysRequest, key: KeyRecord): Promise<void> {
  const { directory } = request;
  const names = ec2Names(key);
  if (names.length === 0) throw misused(`the key of ${key.name} has no name in EC2`);
  const roles = key.rotation === undefined ? [undefined] : ([undefined, 'next', 'old'] as const);
  const blobs = roles.flatMap((role) => blobOf(directory, key.name, role) ?? []);
  await withEc2(request, async (ec2) => {
    // All are looked at before the first is deleted.
    for (const at of names) await ec2.check(at, blobs);
    for (const at of names) {
      const wasThere = await ec2.remove(at, blobs);
      say(`EC2 has ${wasThere ? 'no longer' : 'no'} key pair ${at.name} in ${at.region}`);
    }
  });
}

function blobOf(directory: string, name: string, role: 'next' | 'old' | undefined): Buffer | undefined {
  try {
    return blobOfLine(readPublicKey(directory, name, role));
  } catch (error) {
    if (error instanceof MintError && error.code === 'key-store') return undefined;
    throw error;
  }
}
