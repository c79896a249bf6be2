/** `keys delete`: removes a key here, and with `--aws` in EC2. */
import { printable, say } from '../../cli/terminal.ts';
import { askOnTerminal } from '../../cli/terminal-question.ts';
import { MintError } from '../../errors.ts';
import { findKey, type KeyRecord, removeKey } from '../../keys/store/key-store.ts';
import { publicBlobOf } from '../../keys/store/store-files.ts';
import { parseHostKey } from '../../ssh/hostkey.ts';
import { withEc2 } from './ec2.ts';
import { findMachines } from './machines.ts';
import { type KeysRequest, misused, noteKey } from './request.ts';

/** Deletes a key. Works also if its files are gone, to remove the entry. */
export async function deleteKey(request: KeysRequest): Promise<number> {
  const { directory, profile, values } = request;
  const key = findKey(directory, profile);
  const uses = await usesOf(request, key);
  if (values['force'] !== true && !(await isConfirmed(key.name, uses))) {
    say('nothing was deleted');
    return 1;
  }
  const blob = publicBlobOf(directory, key.name);
  // EC2 first: only the entry of the key has its names there.
  if (values['aws'] === true) await deleteFromEc2(request, key);
  removeKey(directory, key.name);
  noteKey(request, {
    event: 'key-deleted',
    key: key.name,
    keyFingerprint: blob && parseHostKey(blob).fingerprint,
  });
  say(`deleted the key of ${key.name} from the store`);
  if (uses.length > 0) say(`note: still accepted by ${printable(uses.join(', '))}`);
  return 0;
}

/** The machines that still accept the key. Asks EC2 as well; a region that cannot be asked is listed too. */
async function usesOf(request: KeysRequest, key: KeyRecord): Promise<readonly string[]> {
  const { targets, unasked } = await findMachines(request, key);
  const names = [...new Set(targets.map(({ name }) => name))];
  return [
    ...names,
    ...[...unasked.keys()].map((region) => `instances in ${region}, where EC2 could not be asked`),
  ];
}

async function isConfirmed(name: string, uses: readonly string[]): Promise<boolean> {
  const count = `${uses.length} ${uses.length === 1 ? 'instance' : 'instances'}`;
  const framed =
    uses.length === 0
      ? ''
      : `Key '${name}' is used by ${count}: ${printable(uses.join(', '))}.\nThey go on accepting it, and you cannot log in to them with it any more.\n`;
  const answer = await askOnTerminal({
    framed,
    prompt: uses.length === 0 ? `Delete key '${name}'? [y/N] ` : 'Delete anyway? [y/N] ',
    accepts: ['yes'],
    seconds: Number.POSITIVE_INFINITY,
    // Anything but a yes is a no.
    attempts: 1,
  });
  if (answer !== 'cannot-ask') return answer === 'yes';
  if (uses.length > 0) say(`${name} is used by ${printable(uses.join(', '))}`);
  throw new MintError('usage', 'asking needs a terminal; nothing was deleted', {
    hint: 'run it again with --force',
  });
}

async function deleteFromEc2(request: KeysRequest, key: KeyRecord): Promise<void> {
  const { directory } = request;
  const { name, ec2Names } = key;
  if (ec2Names.length === 0) throw misused(`the key of ${name} has no name in EC2`);
  const roles = [undefined, 'next', 'old'] as const;
  const blobs = roles.flatMap((role) => publicBlobOf(directory, name, role) ?? []);
  await withEc2(request, async (ec2) => {
    // Check all of them before the first is deleted.
    for (const at of ec2Names) await ec2.check(at, blobs);
    for (const at of ec2Names) {
      const wasThere = await ec2.remove(at, blobs);
      say(`EC2 has ${wasThere ? 'no longer' : 'no'} key pair ${at.name} in ${at.region}`);
    }
  });
}
