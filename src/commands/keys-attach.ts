/** `keys attach`, `detach` and `dedicated`: which VMs let a key in. */
import { hint, say } from '../cli/terminal.ts';
import { MintError } from '../errors.ts';
import { dropKeys, putKey } from '../keys/key-change.ts';
import { addInstance, forgetInstance } from '../keys/store/instances.ts';
import { materialOf } from '../keys/store/key-material.ts';
import { addKey, findKey, listKeys, lookUp } from '../keys/store/key-store.ts';
import { generateKey } from '../keys/store/key-type.ts';
import type { KeyRecord } from '../keys/store/metadata.ts';
import { dedicatedName } from '../keys/store/profile-name.ts';
import { those } from '../keys/store/rotation-state.ts';
import { withKeySessions, withSessions } from '../keys/vm-session.ts';
import type { Login } from '../ssh-config/login-config.ts';
import {
  instancesOf,
  loginTo,
  type OpenedKey,
  openKept,
  openOther,
  plainName,
  usesKey,
} from './keys-logins.ts';
import { type KeysRequest, makeDefault } from './keys-request.ts';

export async function attachKey(request: KeysRequest): Promise<number> {
  const { directory, profile, vm } = request;
  const login = loginTo(request, vm);
  await makeDefault(request);
  return attach(request, login, findKey(directory, profile));
}

/** Made where it is not there yet; a second run goes on where the first was cut off. */
export async function dedicateKey(request: KeysRequest): Promise<number> {
  const { directory, vm, values } = request;
  const login = loginTo(request, vm);
  const name = dedicatedName(login.vm.name);
  if (lookUp(listKeys(directory), name) === undefined) {
    const key = await generateKey((values['type'] as string | undefined) ?? 'ed25519');
    addKey(directory, { profile: name, region: undefined }, await materialOf(key, name));
    say(`made ${name}, a key for ${login.vm.name} alone`);
  }
  return attach(request, login, findKey(directory, name));
}

async function attach({ directory }: KeysRequest, login: Login, record: KeyRecord): Promise<number> {
  const { name, rotation } = record;
  if (rotation !== undefined) throw unfinished(name);
  const key = await openKept(directory, name);
  const vm = login.vm.name;
  const letsIn = () =>
    withKeySessions(login, async (sessions) => ((await sessions.proves(key)) ? undefined : sessions.said));
  // Where the key is the way in already, there is no other one to put it there by.
  const wasLetIn = usesKey(login.vm.access, record) && (await letsIn()) === undefined;
  if (!wasLetIn) {
    await withSessions(login, (connect) => putKey(connect, vm, key));
    const refused = await letsIn();
    if (refused !== undefined) {
      throw new MintError(
        'login-refused',
        `${vm} has the key of ${name}, and does not let it in: ${refused}`,
        {
          hint: `its sshd may read other files than ~/.ssh/authorized_keys: \`mint-ssh key list ${vm}\``,
        },
      );
    }
  }
  addInstance(directory, name, vm);
  say(`${vm} lets the key of ${name} in${wasLetIn ? ' already' : ''}`);
  if (!usesKey(login.vm.access, record)) {
    hint(`to log in with it from now on: access = "key:${name}" under [vm.${vm}] in ssh.toml`);
  }
  return 0;
}

export async function detachKey(request: KeysRequest): Promise<number> {
  const { directory, profile, values } = request;
  const record = findKey(directory, profile);
  const { name } = record;
  const vm = plainName(request.vm);
  const isForced = values['force'] === true;
  const known = [...instancesOf(request, record), ...Object.keys(record.rotation?.instances ?? {})];
  if (!known.some((one) => plainName(one) === vm) && !isForced) {
    throw new MintError('key-not-found', `${name} is not known to let in to ${JSON.stringify(vm)}`, {
      hint: `\`mint-ssh keys show ${name}\` shows where it does; --force looks there all the same`,
    });
  }
  try {
    await dropFrom(request, record, vm);
  } catch (error) {
    if (!isForced || !(error instanceof MintError)) throw error;
    say(`note: ${error.message}`);
    say(`note: what is in authorized_keys on ${vm} stays there`);
  }
  forgetInstance(directory, name, vm);
  say(`${name} no longer counts ${vm} among its instances`);
  return 0;
}

/** Every key of a rotation goes. @throws MintError where the VM cannot be reached, or has no other way in */
async function dropFrom(request: KeysRequest, record: KeyRecord, vm: string): Promise<void> {
  const { directory } = request;
  const { name, rotation } = record;
  const login = loginTo(request, vm);
  const isOnlyWay = usesKey(login.vm.access, record);
  if (isOnlyWay && request.values['force'] !== true) {
    throw new MintError(
      'key-exists',
      `${name} is the way in to ${vm} that ssh.toml names: nothing has changed`,
      {
        hint: `give [vm.${vm}] another access first, or shut yourself out with --force`,
      },
    );
  }
  const current = await openKept(directory, name);
  const other = rotation === undefined ? undefined : await otherOf(request, record, current);
  const blobs = [current, other].flatMap((key) => key?.blob ?? []);
  const hasOld = rotation !== undefined && those(rotation, 'old').includes(vm);
  const way = hasOld && other !== undefined ? other : current;
  const lines = isOnlyWay
    ? await withKeySessions(login, (sessions) => dropKeys(sessions.by(way), vm, blobs))
    : await withSessions(login, (connect) => dropKeys(connect, vm, blobs));
  say(lines === 0 ? `authorized_keys on ${vm} did not have the key` : `${vm} no longer lets it in`);
}

function otherOf({ directory }: KeysRequest, { name, rotation }: KeyRecord, { passphrase }: OpenedKey) {
  return openOther(directory, name, rotation?.stage === 'removing' ? 'old' : 'next', passphrase);
}

function unfinished(name: string): MintError {
  return new MintError('key-store', `the rotation of ${name} is not finished`, {
    hint: `\`mint-ssh keys rotate ${name}\` goes on with it`,
  });
}
