/** `keys attach`, `detach` and `dedicated`: which VMs accept a key. */
import { command } from '../../cli/shell-command.ts';
import { hint, printable, say } from '../../cli/terminal.ts';
import { MintError } from '../../errors.ts';
import { dropKeys, type KeptKey, putKey } from '../../keys/key-change.ts';
import { materialOf } from '../../keys/store/key-material.ts';
import { addKey, findKey, type KeyRecord, listKeys, lookUp } from '../../keys/store/key-store.ts';
import { generateKey } from '../../keys/store/key-type.ts';
import type { Machine } from '../../keys/store/own-state.ts';
import { dedicatedName } from '../../keys/store/profile-name.ts';
import {
  addMachines,
  enterMachine,
  forgetMachine,
  isSameMachine,
  machineOf,
} from '../../keys/store/rotation.ts';
import { withKeySessions, withSessions } from '../../keys/vm-session.ts';
import { thisCaller } from '../../platform/caller.ts';
import { parseHostKey } from '../../ssh/hostkey.ts';
import type { Login } from '../../ssh-config/login-config.ts';
import { listCached } from '../../vms/list-vms.ts';
import type { LocatedVm } from '../../vms/located-vm.ts';
import { VmCache } from '../../vms/vm-cache.ts';
import { loginTo, type OpenedKey, openKept, openOther, usesKey } from './logins.ts';
import { plainName } from './machines.ts';
import { getOrMake, type KeysRequest, noteKey, withTurn } from './request.ts';

/**
 * `keys attach`: adds the key to authorized_keys on the VM and proves it by a login. Makes the key if it does not exist.
 * @returns the exit status
 * @throws MintError as `loginTo`, `getOrMake` and the login
 */
export async function attachKey(request: KeysRequest): Promise<number> {
  const { directory, profile, vm } = request;
  const login = loginTo(request, vm);
  await getOrMake(request);
  return attach(request, login, findKey(directory, profile));
}

/** `keys dedicated`: makes the key unless it exists. A second run continues an interrupted one. */
export async function dedicateKey(request: KeysRequest): Promise<number> {
  const { directory, vm, values } = request;
  const login = loginTo(request, vm);
  const name = dedicatedName(login.vm.name);
  if (lookUp(listKeys(directory), name) === undefined) {
    const key = await generateKey((values['type'] as string | undefined) ?? 'ed25519');
    addKey(directory, { profile: name, region: undefined }, await materialOf(key, name));
    noteKey(request, { event: 'key-created', key: name });
    say(`made ${name}, a key for ${login.vm.name} alone`);
  }
  return attach(request, login, findKey(directory, name));
}

async function attach(request: KeysRequest, login: Login, record: KeyRecord): Promise<number> {
  const { directory } = request;
  const { name, rotation, hasNext } = record;
  if (rotation !== undefined || hasNext) throw unfinished(name);
  const key = await openKept(directory, name);
  const vm = login.vm.name;
  const fingerprint = parseHostKey(key.blob).fingerprint;
  const refusal = () =>
    withKeySessions(login, async (sessions) => ((await sessions.proves(key)) ? undefined : sessions.said));
  // If ssh.toml already logs in to the VM with this key, no other credential could add it.
  const wasAccepted = usesKey(login.vm.access, record) && (await refusal()) === undefined;
  const place = () => {
    const { instance, region } = located(request, vm) ?? login.vm;
    return { instance, name: vm, user: login.vm.user, region };
  };
  const isKnown = machineOf(record.machines, place()) !== undefined;
  if (!wasAccepted) {
    // Record the VM before the line is added, so that a run that is killed leaves no line that the store does not know.
    enterMachine(directory, name, place(), fingerprint);
    try {
      const isAdded = await withSessions(login, (connect) => putKey(connect, vm, key));
      const refused = await refusal();
      if (refused !== undefined) throw await takenBack(login, { name, key, isAdded, refused });
    } catch (error) {
      if (!isKnown && !(error instanceof LineLeft)) forgetMachine(directory, name, place());
      throw error;
    }
  }
  const { instance, region } = place();
  addMachines(directory, name, [{ ...place(), proved: fingerprint }]);
  noteKey(request, {
    event: 'key-attached',
    key: name,
    vm,
    instance,
    user: login.vm.user,
    keyFingerprint: fingerprint,
  });
  say(`${vm} ${wasAccepted ? 'already accepts' : 'accepts'} the key of ${name}`);
  if (record.region !== undefined && region !== undefined && record.region !== region) {
    say(`note: ${name} is a key of ${record.region}, and ${vm} is in ${region}`);
  }
  if (!usesKey(login.vm.access, record)) {
    hint(`to log in with it from now on: access = "key:${name}" under [vm.${vm}] in ssh.toml`);
  }
  return 0;
}

/** Handles a VM that refuses the key: removes the added line, or reports that it is still there. */
async function takenBack(
  login: Login,
  {
    name,
    key,
    isAdded,
    refused,
  }: { readonly name: string; readonly key: KeptKey; readonly isAdded: boolean; readonly refused: string },
): Promise<MintError> {
  const vm = login.vm.name;
  const hint = `its sshd may read other files than ~/.ssh/authorized_keys, or not allow this key: \`mint-ssh key list ${vm}\``;
  let isLeft = false;
  let end = 'its line was in authorized_keys before, and stays';
  if (isAdded) {
    try {
      await withSessions(login, (connect) => dropKeys(connect, vm, [key.blob]));
      end = 'its line was removed again';
    } catch (error) {
      if (!(error instanceof MintError)) throw error;
      isLeft = true;
      end = `its line is still in authorized_keys: ${error.message}; ${command`mint-ssh key remove ${vm} ${parseHostKey(key.blob).fingerprint}`} removes it`;
    }
  }
  const message = `${vm} does not accept the key of ${name}: ${refused}; ${end}`;
  return isLeft
    ? new LineLeft('login-refused', message, { hint })
    : new MintError('login-refused', message, { hint });
}

/** The VM still has the key's line, so it goes on counting as a machine of the key. */
class LineLeft extends MintError {}

/** The instance that the login has just resolved. */
function located({ paths, settings }: KeysRequest, vm: string): LocatedVm | undefined {
  return listCached(new VmCache(paths), { caller: thisCaller(), settings: settings() }).vms.get(vm);
}

/**
 * `keys detach`: removes the key from authorized_keys on the VM. Waits for a rotation that runs.
 * @returns the exit status
 * @throws MintError `key-not-found`, and as the login
 */
export async function detachKey(request: KeysRequest): Promise<number> {
  const { directory, profile } = request;
  findKey(directory, profile);
  return withTurn(directory, () => detach(request));
}

async function detach(request: KeysRequest): Promise<number> {
  const { directory, profile, values } = request;
  const record = findKey(directory, profile);
  const { name } = record;
  const vm = plainName(request.vm);
  const isForced = values['force'] === true;
  const machine = machineCalled(request, record, vm);
  if (machine === undefined && !isForced) {
    throw new MintError('key-not-found', `${JSON.stringify(vm)} is not known to accept ${name}`, {
      hint: `\`mint-ssh keys show ${name}\` shows which VMs do; --force looks there all the same`,
    });
  }
  try {
    await dropFrom(request, record, vm, machine);
  } catch (error) {
    if (!isForced || !(error instanceof MintError)) throw error;
    say(`note: ${error.message}`);
    say(`note: the line in authorized_keys on ${printable(vm)}, if it is there, stays`);
  }
  if (machine !== undefined) forgetMachine(directory, name, machine);
  noteKey(request, { event: 'key-detached', key: name, vm, instance: machine?.instance });
  say(`${printable(vm)} no longer counts as a machine of ${name}`);
  return 0;
}

/** By the machine's name, by its instance id, or by the name of a VM of ssh.toml. */
function machineCalled(request: KeysRequest, record: KeyRecord, vm: string): Machine | undefined {
  const byName = record.machines.find((one) => one.instance === vm || plainName(one.name) === vm);
  if (byName !== undefined) return byName;
  const settings = request.settings().vm(vm);
  if (settings === undefined || !usesKey(settings.access, record)) return undefined;
  const { instance, user, region } = settings;
  const unknown = {
    instance,
    name: vm,
    user,
    region,
    lastUsed: undefined,
    proved: undefined,
    accepts: undefined,
  };
  return record.machines.find((one) => isSameMachine(one, unknown)) ?? unknown;
}

/**
 * Removes every key of a rotation.
 * @throws MintError `key-exists` if the VM would accept no other login
 */
async function dropFrom(
  request: KeysRequest,
  record: KeyRecord,
  vm: string,
  machine: Machine | undefined,
): Promise<void> {
  const { directory } = request;
  const { name } = record;
  const login = loginTo(request, vm);
  const isOnlyWay = usesKey(login.vm.access, record);
  if (isOnlyWay && request.values['force'] !== true) {
    throw new MintError('key-exists', `ssh.toml logs in to ${vm} with ${name}; nothing was changed`, {
      hint: `set another access for [vm.${vm}] first, or lock yourself out with --force`,
    });
  }
  const current = await openKept(directory, name);
  const other = await otherOf(request, record, current);
  const blobs = [current, other].flatMap((key) => key?.blob ?? []);
  const way = machine?.accepts === 'old' && other !== undefined ? other : current;
  const lines = isOnlyWay
    ? await withKeySessions(login, (sessions) => dropKeys(sessions.by(way), vm, blobs))
    : await withSessions(login, (connect) => dropKeys(connect, vm, blobs));
  say(
    lines === 0
      ? `authorized_keys on ${vm} did not have the key`
      : `removed the key from authorized_keys on ${vm}`,
  );
}

async function otherOf(
  { directory }: KeysRequest,
  { name, rotation, hasNext }: KeyRecord,
  { passphrase }: OpenedKey,
): Promise<KeptKey | undefined> {
  if (rotation === undefined && !hasNext) return undefined;
  return openOther(directory, name, rotation === undefined ? 'next' : 'old', passphrase);
}

function unfinished(name: string): MintError {
  return new MintError('key-store', `the rotation of ${name} is not finished`, {
    hint: `\`mint-ssh keys rotate ${name}\` continues it`,
  });
}
