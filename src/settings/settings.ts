import { basename } from 'node:path';
import { closest } from '../cli/suggest.ts';
import { MintError } from '../errors.ts';
import { expandHome, findRunDir, type Paths } from '../platform/paths.ts';
import { writtenNames } from './approved-names.ts';
import { type OpenJob, readOpenJobs } from './open-jobs.ts';
import { badSetting, readSettingsText, readTables, shownKey, type Values } from './settings-file.ts';
import { settingsKeys } from './settings-keys.ts';
import { parseToml } from './toml.ts';
import { ordinaryLogin, type UsualLogin } from './usual-login.ts';
import { instancePattern } from './vm-name.ts';

/** The settings of one VM, after all defaults. Paths are absolute; durations are in the form of ssh.toml, such as `10m`. */
export interface VmSettings {
  readonly name: string;
  readonly user: string;
  readonly port: number;
  /** Whether ssh.toml, or the VM's job, sets both user and port. Otherwise they come from AWS, a block or a default. */
  readonly hasLogin: boolean;
  readonly host: string | undefined;
  readonly instance: string | undefined;
  readonly region: string | undefined;
  readonly profile: string | undefined;
  readonly verify: 'tofu' | 'console';
  readonly acceptChanged: 'ask' | 'console';
  readonly requireBinding: boolean;
  /** The type of the pushed key. */
  readonly keyType: 'ed25519' | 'rsa-3072';
  readonly start: 'ask' | 'always' | 'never';
  readonly route: 'public' | 'private' | 'endpoint' | 'auto';
  /** The jump host in front of the VM, by its name in the user's ssh config. */
  readonly via: string | undefined;
  /** How long a shared connection stays open after its last session, in ssh_config's form; undefined if none is shared. */
  readonly multiplex: string | undefined;
  readonly preferredAuthentications: string;
  /** Set for this VM; the default for all VMs is in `Settings`. */
  readonly upstreamAgent: string | undefined;
  readonly keyLifetime: string | undefined;
  /** `instance-connect`, `injected` or `key:<profile>`; if undefined, the instance's KeyName may decide. */
  readonly access: string | undefined;
  readonly identity: string | undefined;
}

export interface Settings {
  /** For VMs without their own value. */
  readonly upstreamAgent: string | undefined;
  /** The names of the `[vm.NAME]` tables, in the order of the file. */
  readonly vms: readonly string[];
  /** Takes a name that `vmName` returned; returns undefined if ssh.toml does not have the VM. */
  readonly vm: (name: string) => VmSettings | undefined;
  /**
   * The settings for a VM of this name, whether ssh.toml has it or not.
   *
   * @param usual the VM's user and port as far as `usualLogin` knows them
   */
  readonly named: (name: string, usual?: UsualLogin) => VmSettings;
  /** Whether ssh.toml has the name, our ssh_config has a block for it, it is an instance id, or it is an open job. */
  readonly knows: (name: string) => boolean;
}

export interface SettingsFlags {
  readonly profile?: string | undefined;
  readonly region?: string | undefined;
}

/**
 * Reads `ssh.toml`, and Mint's `config.toml` for region and profile. The first of these that has a value decides: the
 * flag, `[vm.NAME]`, the top of `ssh.toml`, `config.toml`. The AWS settings of the caller decide the rest.
 *
 * @throws MintError `bad-settings` with file and line for an unknown key, a wrong type or an invalid value: no setting
 *   is ignored; `vm-ambiguous` if two VM names differ only in case
 */
export function loadSettings(paths: Paths, flags: SettingsFlags): Settings {
  checkFlags(flags);
  const file = basename(paths.sshToml);
  const text = readSettingsText(paths.sshToml);
  const { top, vms } = text === undefined ? { top: new Map(), vms: new Map() } : readTables(text, file);
  const mint = readMintConfig(paths.configToml);
  checkRunDir(top, text ?? '', file);
  let jobs: readonly OpenJob[] | undefined;
  const job = (name: string) => {
    jobs ??= readOpenJobs(paths);
    return jobs.find((open) => open.name === name);
  };
  const named = (name: string, usual: UsualLogin = {}) => {
    const written = vms.get(name)?.values ?? new Map();
    const isJobs = !vms.has(name) || written.get('access')?.value === 'injected';
    const own = isJobs ? new Map([...jobValues(job(name)), ...written]) : written;
    refuseTwoKeys(own, file);
    return assemble(name, own, [flagValues(flags), own, top, mint], usual);
  };
  return {
    upstreamAgent: filePath(top, 'upstream_agent'),
    vms: [...vms.keys()],
    vm: (name) => (vms.has(name) ? named(name) : undefined),
    named,
    knows: (name) =>
      vms.has(name) ||
      instancePattern.test(name) ||
      writtenNames(paths).all.has(name) ||
      job(name) !== undefined,
  };
}

/** The VM of a job has the address that `job set` gave it, and needs no AWS calls. */
function jobValues(job: OpenJob | undefined): Values {
  if (job === undefined) return new Map();
  const { user, host, port } = job;
  const values = { user, host, port, access: 'injected', verify: 'tofu' };
  const set = Object.entries(values).filter(
    (entry): entry is [string, string | number] => entry[1] !== undefined,
  );
  return new Map(set.map(([key, value]) => [key, { value, line: 0 }]));
}

/** `identity` is the user's own key, so it contradicts a managed one. */
function refuseTwoKeys(own: Values, file: string): void {
  const access = own.get('access');
  if (!own.has('identity') || !String(access?.value).startsWith('key:')) return;
  throw badSetting(
    file,
    access?.line ?? 1,
    'access = "key:…" and identity name two keys for one VM',
    'remove one of them',
  );
}

/** Mint's own file. We use two of its keys, and ignore the others. */
function readMintConfig(path: string): Values {
  const file = basename(path);
  const text = readSettingsText(path);
  const values: Values = new Map();
  if (text === undefined) return values;
  for (const entry of parseToml(text, file).entries) {
    const key = entry.path.length === 1 ? mintKeys[entry.path[0] ?? ''] : undefined;
    if (key === undefined) continue;
    const rule = settingsKeys[key];
    // Mint writes an empty string for an unset value.
    if (entry.value === '') continue;
    if (entry.value === undefined || !rule?.accepts(entry.value)) {
      throw badSetting(file, entry.line, `${shownKey(entry.path)} must be ${rule?.wants}`);
    }
    values.set(key, { value: entry.value, line: entry.line });
  }
  return values;
}

const mintKeys: Readonly<Record<string, 'region' | 'profile' | undefined>> = Object.assign(
  Object.create(null),
  {
    region: 'region',
    aws_profile: 'profile',
  },
);

/**
 * The proxy reads run_dir with `findRunDir`, which accepts one form only. This refuses every other form.
 *
 * @throws MintError `bad-settings`
 */
function checkRunDir(top: Values, text: string, file: string): void {
  const setting = top.get('run_dir');
  if ((setting === undefined ? undefined : String(setting.value)) === findRunDir(text)) return;
  throw badSetting(
    file,
    setting?.line ?? 1,
    'run_dir is not written as a plain string on a line of its own',
    'write run_dir = "/path" near the top, with no escapes and above the first table',
  );
}

function checkFlags(flags: SettingsFlags): void {
  for (const key of ['profile', 'region'] as const) {
    const value = flags[key];
    if (value !== undefined && !settingsKeys[key]?.accepts(value)) {
      throw new MintError('bad-settings', `--${key} must be ${settingsKeys[key]?.wants}`);
    }
  }
}

function flagValues(flags: SettingsFlags): Values {
  const values: Values = new Map();
  if (flags.profile !== undefined) values.set('profile', { value: flags.profile, line: 0 });
  if (flags.region !== undefined) values.set('region', { value: flags.region, line: 0 });
  return values;
}

/** The first of `sources` that has a key decides. The casts are safe because `checked` has checked the values. */
function assemble(name: string, own: Values, sources: readonly Values[], usual: UsualLogin): VmSettings {
  const first = (key: string) => sources.find((values) => values.has(key))?.get(key)?.value;
  const word = (key: string) => first(key) as string | undefined;
  const file = (key: string) => (first(key) === undefined ? undefined : expandHome(String(first(key))));
  return {
    name,
    user: word('user') ?? usual.user ?? ordinaryLogin.user,
    port: (first('port') as number | undefined) ?? usual.port ?? ordinaryLogin.port,
    hasLogin: first('user') !== undefined && first('port') !== undefined,
    host: word('host'),
    instance: word('instance'),
    region: word('region'),
    profile: word('profile'),
    verify: (word('verify') as VmSettings['verify'] | undefined) ?? 'console',
    acceptChanged: (word('accept_changed') as VmSettings['acceptChanged'] | undefined) ?? 'ask',
    requireBinding: first('require_binding') === true,
    keyType: (word('key_type') as VmSettings['keyType'] | undefined) ?? 'ed25519',
    start: (word('start') as VmSettings['start'] | undefined) ?? 'ask',
    route: (word('route') as VmSettings['route'] | undefined) ?? 'auto',
    via: word('via'),
    multiplex: word('multiplex') === 'none' ? undefined : word('multiplex'),
    preferredAuthentications: word('preferred_authentications') ?? 'publickey',
    upstreamAgent: filePath(own, 'upstream_agent'),
    keyLifetime: word('key_lifetime'),
    access: word('access'),
    identity: file('identity'),
  };
}

function filePath(values: Values, key: string): string | undefined {
  const path = values.get(key)?.value;
  return path === undefined ? undefined : expandHome(String(path));
}

/**
 * @param name as `vmName` returned it
 * @returns the VM's settings
 * @throws MintError `vm-not-found`, `bad-settings`
 */
export function knownVm(settings: Settings, name: string): VmSettings {
  if (settings.knows(name)) return settings.named(name);
  const near = closest(name, settings.vms);
  const names = settings.vms.slice(0, 10).join(', ');
  throw new MintError('vm-not-found', `${name} is neither in ssh.toml nor in a Host block`, {
    hint:
      names === ''
        ? '`mint-ssh ssh-config` finds your VMs; to add another one, write [vm.NAME] with instance in ssh.toml'
        : near === undefined
          ? `ssh.toml has ${names}`
          : `did you mean: ${near}`,
  });
}

/**
 * @returns whether a login to the VM needs AWS: to find its address, to push a key or to read the console. A VM with
 *   `host`, without `instance`, and with a key that is already installed needs no AWS credentials
 */
export function usesAws({
  host,
  instance,
  access,
  identity,
}: Pick<VmSettings, 'host' | 'instance' | 'access' | 'identity'>): boolean {
  const isPushed = access === undefined || access === 'instance-connect';
  const isJobs = access === 'injected' && identity === undefined;
  return isPushed || instance !== undefined || (host === undefined && !isJobs);
}
