/** `mint-ssh job`: a key in the agent's memory for a VM that lives as long as a CI job. */
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { buildLogBlock, logFormats, parseLogFormat } from '../ci/build-log.ts';
import { cloudConfig } from '../ci/cloud-config.ts';
import { type DebugRequest, giveDebugAccess, locatedJob } from '../ci/holder.ts';
import { onEndSignal, runOnVm, waitForVm } from '../ci/job-run.ts';
import {
  beginJob,
  endJob,
  endJobAndBlock,
  type Job,
  type JobBlock,
  listJobs,
  refreshJobBlock,
  setJob,
} from '../ci/jobs.ts';
import { checkSubcommand } from '../cli/arguments.ts';
import type { Command, Invocation, Options } from '../cli/command.ts';
import { hint, print, printJson, printOrFail, reportError, say, show } from '../cli/terminal.ts';
import { isoTime, shownTime } from '../cli/time.ts';
import { type ErrorCode, MintError } from '../errors.ts';
import { type Paths, resolvePaths } from '../platform/paths.ts';
import { readOpenJobs } from '../settings/open-jobs.ts';
import { loadSettings } from '../settings/settings.ts';
import { settingsKeys } from '../settings/settings-keys.ts';
import { vmName } from '../settings/vm-name.ts';
import { parseHostKey } from '../ssh/hostkey.ts';
import { publicKeyBlob, publicKeyLine } from '../ssh/key-encoding.ts';
import { remoteCommandLine } from '../ssh-config/remote-command.ts';
import { accessOptions, debugRequest, parseDuration, withStore } from './debug-options.ts';

const usage = 'job [begin NAME | set NAME --host H | run NAME -- CMD… | end NAME | list]';

const beginFormats = ['cloud-config', 'authorized-key', 'json'];

const beginOptions = {
  user: {
    type: 'string',
    value: 'NAME',
    description: 'log in as this user instead of the image’s own',
  },
  sudo: { type: 'boolean', description: 'that user may become root, which debug access needs' },
  'host-key': {
    type: 'boolean',
    description: 'give the VM a host key, so that even the first connection is verified',
  },
} as const satisfies Options;

export const command: Command = {
  usage,
  help: `A key for a VM that lives as long as a job: it is made in the agent's memory, never written to disk, and gone with
\`job end\` or with the agent. \`begin\` prints user data for cloud-init that authorizes its public half at the first boot.
Then \`ssh NAME\` and \`mint-ssh ssh NAME\` work as for any VM.

User data can be read on the VM, and by everyone who may ask EC2 for it. With --host-key it has the VM's private host key,
which suits a VM that is thrown away.

\`run\` passes one word to the VM's shell as a line; several words arrive as exactly these words. --wait waits for a VM that
boots. SIGINT, SIGTERM and SIGHUP end CMD on the VM. With --debug-on-failure, a CMD that fails opens the VM for debugging
for at most 30 minutes; then the VM is destroyed. See \`mint-ssh debug --help\`.

  mint-ssh job begin build-17 > user-data
  mint-ssh job set build-17 --host 203.0.113.7
  mint-ssh job run build-17 --wait 10m -- make test
  mint-ssh job end build-17`,
  words: [
    [
      'begin NAME',
      'make the key, and print user data that authorizes it',
      [...Object.keys(beginOptions), 'format'],
    ],
    ['set NAME', 'set the address of the VM: --host, and --port if it is not 22', ['host', 'port']],
    [
      'run NAME -- CMD…',
      'run a command on the VM; exits with its status',
      ['wait', 'debug-on-failure', 'format', ...Object.keys(accessOptions)],
    ],
    ['end NAME', 'wipe the key and the host key, and free the name', []],
    ['list', 'list the open jobs', ['json']],
  ],
  options: {
    ...beginOptions,
    format: {
      type: 'string',
      value: 'FORM',
      description: 'the form of the output',
      values: { begin: beginFormats, run: logFormats },
    },
    host: { type: 'string', value: 'HOST', description: 'an address or a host name' },
    port: { type: 'string', value: 'PORT', description: 'the port of its sshd' },
    wait: {
      type: 'string',
      value: 'TIME',
      description: 'how long the VM may take to answer, such as 10m',
    },
    json: { type: 'boolean', description: 'print JSON: see docs/json.md' },
    'debug-on-failure': { type: 'boolean', description: 'open the VM for debugging if CMD fails' },
    ...accessOptions,
  },
  run,
};

interface JobInvocation extends Invocation {
  readonly paths: Paths;
  /** As `vmName` returns it. */
  readonly name: string;
}

type Action = (invocation: JobInvocation) => Promise<number>;

/** All but `list`, which takes no name. */
const actions: Readonly<Record<string, Action>> = { begin, set, run: runCommand, end };

async function run(invocation: Invocation): Promise<number> {
  const { positionals, values, rest, globals } = invocation;
  const [word, given, ...more] = positionals;
  if (word === undefined) throw misused('missing subcommand');
  checkSubcommand(command, word, values);
  const paths = resolvePaths({ configDir: globals.configDir });
  const action = actions[word];
  if (more.length > 0) throw misused(`too many arguments for job ${word}`);
  if (rest !== undefined && word !== 'run') throw misused(`job ${word} takes nothing after --`);
  if (action === undefined) return await list(paths, given, values['json'] === true);
  if (given === undefined) throw misused('missing argument: NAME');
  return await action({ ...invocation, paths, name: vmName(given) });
}

async function begin({ paths, name, values, globals }: JobInvocation): Promise<number> {
  const format = (values['format'] as string | undefined) ?? 'cloud-config';
  if (!beginFormats.includes(format)) throw misused(`--format of job begin: ${beginFormats.join(', ')}`);
  const given = values['user'] as string | undefined;
  const wanted = settingsKeys['user'];
  if (given !== undefined && !wanted?.accepts(given)) throw misused(`--user must be ${wanted?.wants}`);
  const sudo = values['sudo'] === true;
  if (sudo && given === undefined)
    throw misused('--sudo needs --user: the image’s own user has its rights already');
  const hostKey = values['host-key'] === true ? generateKeyPairSync('ed25519').privateKey : undefined;
  if (hostKey !== undefined && format === 'authorized-key') {
    throw misused('--host-key needs cloud-config or json: an authorized key has no room for it');
  }
  const user = given ?? loadSettings(paths, globals).named(name).user;
  const job = await beginJob(paths, { name, user, hostKey: hostKey && publicKeyBlob(hostKey) });
  try {
    const authorizedKey = `${job.publicKey} mint-job-${name}`;
    const text = await cloudConfig({ authorizedKey, user: given, sudo, hostKey });
    const login = loginCommand(name, await refreshJobBlock(paths, name));
    printOrFail(
      format === 'json'
        ? jobJson(job, authorizedKey, text, hostKey)
        : ({ 'cloud-config': text, 'authorized-key': authorizedKey }[format] ?? ''),
    );
    hint(`then log in with ${login}, once its VM has an address: mint-ssh job set ${name} --host H`);
  } catch (error) {
    // Without its user data the job cannot be used, so it must not keep its name.
    await endJobAndBlock(paths, name).catch(() => endJob(paths, name));
    throw error;
  }
  return 0;
}

function jobJson(job: Job, authorizedKey: string, text: string, hostKey: KeyObject | undefined): string {
  const { name, user } = job;
  const host = {
    host_public_key: hostKey === undefined ? null : publicKeyLine(hostKey),
    host_key_fingerprint: hostKey === undefined ? null : parseHostKey(publicKeyBlob(hostKey)).fingerprint,
  };
  return JSON.stringify(
    { vm: name, user, public_key: authorizedKey, ...host, cloud_config: text },
    undefined,
    2,
  );
}

function loginCommand(name: string, block: JobBlock): string {
  if (block.kind === 'written') return `ssh ${name}`;
  if (block.kind === 'taken') say(`note: \`ssh ${name}\` does not reach the job's VM: ${block.reason}`);
  return `mint-ssh ssh ${name}`;
}

async function set({ paths, name, values }: JobInvocation): Promise<number> {
  const host = values['host'] as string | undefined;
  const port = values['port'] as string | undefined;
  if (host === undefined) throw misused('missing option: --host HOST');
  const wanted = settingsKeys['host'];
  if (!wanted?.accepts(host)) throw misused(`--host must be ${wanted?.wants}`);
  if (port !== undefined && !(/^[1-9]\d{0,4}$/.test(port) && Number(port) <= 65_535)) {
    throw misused('--port must be a whole number from 1 to 65535');
  }
  await setJob(paths, { name, host, port: port === undefined ? undefined : Number(port) });
  // The block already holds the port.
  await refreshJobBlock(paths, name);
  return 0;
}

async function end({ paths, name }: JobInvocation): Promise<number> {
  const job = await endJobAndBlock(paths, name);
  say(
    job.state === 'lost'
      ? `job ${name} ended; its key was already lost`
      : `job ${name} ended, its key is wiped`,
  );
  return 0;
}

async function list(paths: Paths, given: string | undefined, json: boolean): Promise<number> {
  if (given !== undefined) throw misused('job list takes no argument');
  const jobs = await listJobs(paths);
  if (json) {
    const shown = jobs.map(({ name, user, host, port, publicKey, hostKey, begunAt, state }) => ({
      vm: name,
      state,
      user,
      host: host ?? null,
      port,
      public_key: publicKey,
      host_key_fingerprint: hostKey ?? null,
      started_at: isoTime(begunAt),
    }));
    printJson(shown);
  } else if (jobs.length === 0) say('no job is open');
  else print(jobs.map(describe).join('\n'));
  return 0;
}

function describe({ name, user, host, port, begunAt, state }: Job): string {
  const where = host === undefined ? 'no address yet' : `${user}@${host} port ${port}`;
  return `${name}: ${where}, since ${shownTime(begunAt)}${state === 'lost' ? ', its key is lost' : ''}`;
}

/** Runs CMD. The options of debug access are checked first, so that a mistake in them shows before CMD fails. */
async function runCommand({ paths, name, rest = [], values, globals }: JobInvocation): Promise<number> {
  if (rest.length === 0) throw misused('missing command after --');
  const line = remoteCommandLine(rest);
  const onFailure = values['debug-on-failure'] === true;
  if (!onFailure && Object.keys(values).some((option) => option in accessOptions || option === 'format')) {
    throw misused('the options of debug access need --debug-on-failure');
  }
  if (!readOpenJobs(paths).some((job) => job.name === name)) throw noJob(name);
  const format = parseLogFormat(values['format'] as string | undefined);
  const wait = values['wait'] as string | undefined;
  const waitSeconds = wait === undefined ? 0 : parseDuration('--wait', wait, 60);
  const request = onFailure ? await optionalRequest(paths, name, values) : undefined;
  if (waitSeconds > 0) locatedJob(paths, name);
  const vm = loadSettings(paths, { profile: globals.profile, region: globals.region }).named(name);
  const login = { paths, vm, globals };
  const { signal, dispose } = onEndSignal();
  try {
    if (waitSeconds > 0) await waitForVm(login, waitSeconds * 1000, signal);
    const status = await runOnVm(login, line, signal);
    if (status === 0 || request === undefined || signal.aborted) return status;
    say(`the command failed with status ${status}`);
    try {
      await withStore(values, paths, vm, (store, access) =>
        giveDebugAccess(request, {
          login,
          access,
          store,
          signal,
          word: 'job run',
          announce: (announcement) => show(buildLogBlock(announcement, format, Date.now())),
        }),
      );
    } catch (error) {
      // The exit status stays that of the command.
      reportError(error, globals.verbose);
    }
    return status;
  } finally {
    dispose();
  }
}

/** Errors in the keys to authorize for debug access. They do not fail the job. */
const keyCodes: ReadonlySet<ErrorCode> = new Set(['key-invalid', 'key-options', 'key-private', 'io-failed']);

/** The request for debug access; undefined, with a warning, if its keys cannot be read. CMD runs in any case. */
async function optionalRequest(
  paths: Paths,
  name: string,
  values: Invocation['values'],
): Promise<DebugRequest | undefined> {
  try {
    return await debugRequest(values, locatedJob(paths, name));
  } catch (error) {
    if (!(error instanceof MintError && keyCodes.has(error.code))) throw error;
    say(`warning: there will be no debug access: ${error.message} (${error.code})`);
    return undefined;
  }
}

function noJob(name: string): MintError {
  return new MintError('job-not-found', `job not found: ${name}`, { hint: `mint-ssh job begin ${name}` });
}

function misused(message: string): MintError {
  return new MintError('usage', message, { hint: `usage: mint-ssh ${usage}` });
}
