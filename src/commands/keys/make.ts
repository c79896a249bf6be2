/** `keys create` and `import`: adds a key to the store, and with `--aws` its public half to EC2. */
import { hint, say } from '../../cli/terminal.ts';
import { MintError } from '../../errors.ts';
import { materialOf } from '../../keys/store/key-material.ts';
import { addKey, checkFree, findKey, type KeyRecord, listKeys, lookUp } from '../../keys/store/key-store.ts';
import { generateKey, publicBlob } from '../../keys/store/key-type.ts';
import { awsKeyName, profileName } from '../../keys/store/profile-name.ts';
import { addEc2Name } from '../../keys/store/rotation.ts';
import type { KeyMaterial } from '../../keys/store/store-files.ts';
import { parseHostKey } from '../../ssh/hostkey.ts';
import { checkForEc2, nameInEc2, withEc2 } from './ec2.ts';
import { blobOf, detailsOf, type KeysRequest, noteKey, reportMade } from './request.ts';
import { readKeyFile } from './transfer.ts';

/**
 * `keys create`: makes a key for a profile that has none.
 * @returns the exit status
 * @throws MintError `key-exists`, `usage`, `key-store`
 */
export async function createKey(request: KeysRequest): Promise<number> {
  const { directory, profile, values } = request;
  const name = profileName(profile);
  awsKeyName(name, request.region());
  checkFree(directory, profile);
  const key = await generateKey((values['type'] as string | undefined) ?? 'ed25519');
  return keep(request, name, { material: await materialOf(key, name), blob: publicBlob(key) });
}

/** Without a file, `--aws` imports the stored key into EC2, also in another region. */
export async function importKey(request: KeysRequest): Promise<number> {
  const { directory, profile, values } = request;
  const isKept = values['aws'] === true && values['key-file'] === undefined;
  const kept = isKept ? lookUp(listKeys(directory), profile) : undefined;
  if (kept !== undefined) {
    await putInEc2(request, kept);
    return reportMade(request, findKey(directory, kept.name));
  }
  const name = profileName(profile);
  awsKeyName(name, request.region());
  if (values['key-file'] !== undefined) checkFree(directory, profile);
  return keep(request, name, await readKeyFile(request, name));
}

async function keep(
  request: KeysRequest,
  name: string,
  { material, blob }: { readonly material: KeyMaterial; readonly blob: Buffer },
): Promise<number> {
  const { directory, profile, values } = request;
  const place = { profile, region: request.region() };
  const add = () => {
    const key = addKey(directory, place, material);
    const event = values['key-file'] === undefined ? 'key-created' : 'key-imported';
    noteKey(request, { event, key: name, keyFingerprint: parseHostKey(blob).fingerprint });
    return key;
  };
  if (values['aws'] !== true) return reportMade(request, add());
  const at = nameInEc2(name, place.region);
  checkForEc2(blob);
  // Check EC2 before anything is stored here.
  await withEc2(request, (ec2) => ec2.check(at, [blob]));
  const key = add();
  try {
    await putInEc2(request, key);
  } catch (error) {
    if (error instanceof MintError) say(`note: ${name} is kept here, and EC2 does not have it`);
    hint(`to add it to EC2: mint-ssh keys import ${name} --aws`);
    throw error;
  }
  return reportMade(request, key);
}

/** The key's existing or new name in the region of the request. */
async function putInEc2(request: KeysRequest, key: KeyRecord): Promise<void> {
  const { directory } = request;
  const { name } = key;
  const { publicKey } = detailsOf(directory, key);
  checkForEc2(blobOf(publicKey, name));
  const region = request.region() ?? key.region;
  const at = key.ec2Names.find((own) => own.region === region) ?? nameInEc2(name, region);
  const outcome = await withEc2(request, (ec2) => ec2.put(at, publicKey));
  addEc2Name(directory, name, at.region, at.name);
  say(`EC2 ${outcome === 'imported' ? 'has it now' : 'had it already'} as ${at.name} in ${at.region}`);
}
