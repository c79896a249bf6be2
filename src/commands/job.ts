/** `mint-ssh job`: a key in the agent's memory for a VM that lives as long as a CI job. */
import { type Job, listJobs, setJob } from '../agent/job-client.ts';
import { buildLogBlock, parseLogFormat } from '../ci/build-log.ts';
import { giveDebugAccess, locatedJob } from '../ci/debug-access.ts';
import { onEndSignal } from '../ci/end-signal.ts';
import { endJobAndBlock, refreshJobBlock } from '../ci/job-block.ts';
import type { Command, Invocation } from '../cli/command.ts';
import { print, printable, reportError, say, show } from '../cli/terminal.ts';
import { MintError } from '../errors.ts';
import { type Paths, resolvePaths } from '../platform/paths.ts';
import { readOpenJobs } from '../settings/open-jobs.ts';
import { loadSettings } from '../settings/settings.ts';
import { settingsKeys } from '../settings/settings-keys.ts';
import { vmName } from '../settings/vm-name.ts';
import { withLoginConfig } from '../ssh-config/login-config.ts';
import { remoteCommandLine } from '../ssh-config/remote-command.ts';
import { sshArguments, sshStatus, startProgram } from '../ssh-config/ssh-child.ts';
import { accessOptions, awsAccess, debugRequest, openStore } from './debug-options.ts';
import { begin, beginOptions } from './job-begin.ts';
import { type JobRequest, jobMisused, jobUsage } from './job-request.ts';

export const command: Command = {
  usage: jobUsage,
  help: `A key for a VM that lives as long as a job: made in the agent's memory, never written anywhere, gone with
\`job end\` or with the agent. \`begin\` prints what puts its public half on the VM at the first boot, as user data for
cloud-init. In between, \`ssh NAME\` and \`mint-ssh ssh NAME\` work as for any VM.

User data can be read by everyone on the VM and by everyone who may ask EC2 for it: with --host-key it has the VM's
private host key, which suits a VM that is thrown away.

\`run\` passes one word on as it is, for the VM's shell; of several, each arrives as the one word that it is here. With
--debug-on-failure, a CMD that fails opens the VM for a person for at most 30 minutes; then the VM is destroyed. See
\`mint-ssh debug --help\`.

  mint-ssh job begin build-17 > user-data
  mint-ssh job set build-17 --host 203.0.113.7
  mint-ssh job run build-17 -- make test
  mint-ssh job end build-17`,
  words: [
    ['begin NAME', 'make the key, and print what lets it in at the first boot'],
    ['set NAME', 'the VM is at --host, and --port where that is not 22'],
    ['run NAME -- CMD…', 'run a command there; its exit status is ours'],
    ['end NAME', 'wipe key, host key and name'],
    ['list', 'the jobs that are open'],
  ],
  options: {
    ...beginOptions,
    format: {
      type: 'string',
      value: 'FORM',
      description: 'begin: cloud-config, authorized-key, json; of debug access: text, github, gitlab, json',
    },
    host: { type: 'string', value: 'HOST', description: 'set: an address or a host name' },
    port: { type: 'string', value: 'PORT', description: 'set: where its sshd listens' },
    json: { type: 'boolean', description: 'list: print JSON' },
    'debug-on-failure': { type: 'boolean', description: 'run: let a person in where CMD fails' },
    ...accessOptions,
  },
  run,
};

interface Action {
  readonly run: (request: JobRequest) => Promise<number>;
  readonly takes: readonly string[];
}

const actions: Readonly<Record<string, Action>> = {
  begin: { run: begin, takes: [...Object.keys(beginOptions), 'format'] },
  set: { run: set, takes: ['host', 'port'] },
  run: { run: runCommand, takes: ['debug-on-failure', 'format', ...Object.keys(accessOptions)] },
  end: { run: end, takes: [] },
};

async function run(invocation: Invocation): Promise<number> {
  const { positionals, values, rest, globals } = invocation;
  const [word = '', given, ...more] = positionals;
  const paths = resolvePaths({ configDir: globals.configDir });
  const action = Object.hasOwn(actions, word) ? actions[word] : undefined;
  if (action === undefined && word !== 'list') {
    throw jobMisused(
      word === '' ? 'begin, set, run, end or list?' : `job cannot "${printable(word.slice(0, 40))}"`,
    );
  }
  const known = new Set([
    ...(action?.takes ?? ['json']),
    'config-dir',
    'profile',
    'region',
    'verbose',
    'timing',
  ]);
  const stray = Object.keys(values).find((name) => !known.has(name));
  if (stray !== undefined) throw jobMisused(`--${stray} does not go with ${word}`);
  if (more.length > 0 || (rest !== undefined && word !== 'run'))
    throw jobMisused(`${word} takes no more words`);
  if (action === undefined) return await list(paths, given, values['json'] === true);
  if (given === undefined) throw jobMisused('which job?');
  return await action.run({ ...invocation, paths, name: vmName(given) });
}

async function set({ paths, name, values }: JobRequest): Promise<number> {
  const host = values['host'] as string | undefined;
  const port = values['port'] as string | undefined;
  if (host === undefined) throw jobMisused('where is its VM? --host H');
  const wanted = settingsKeys['host'];
  if (!wanted?.accepts(host)) throw jobMisused(`--host must be ${wanted?.wants}`);
  if (port !== undefined && !(/^[1-9]\d{0,4}$/.test(port) && Number(port) <= 65_535)) {
    throw jobMisused('--port must be a whole number from 1 to 65535');
  }
  await setJob(paths, { name, host, port: port === undefined ? undefined : Number(port) });
  // The port stands in the block.
  await refreshJobBlock(paths, name);
  return 0;
}

async function end({ paths, name }: JobRequest): Promise<number> {
  const job = await endJobAndBlock(paths, name);
  say(
    job.state === 'lost'
      ? `job ${name} ended; its key was lost before`
      : `job ${name} ended, its key is wiped`,
  );
  return 0;
}

async function list(paths: Paths, given: string | undefined, json: boolean): Promise<number> {
  if (given !== undefined) throw jobMisused('list takes no name');
  const jobs = await listJobs(paths);
  if (json) {
    const shown = jobs.map(({ name, user, host, port, publicKey, hostKey, begunAt, state }) => ({
      name,
      state,
      user,
      host: host ?? null,
      port,
      public_key: publicKey,
      host_key_fingerprint: hostKey ?? null,
      begun_at: begunAt,
    }));
    print(JSON.stringify(shown, undefined, 2));
  } else if (jobs.length === 0) say('no job is open');
  else print(jobs.map(describe).join('\n'));
  return 0;
}

function describe({ name, user, host, port, begunAt, state }: Job): string {
  const where = host === undefined ? 'no VM yet' : `${user}@${host} port ${port}`;
  return `${name}: ${where}, since ${begunAt}${state === 'lost' ? ', its key is lost' : ''}`;
}

/** A user's own config must not replace the command. */
const sessionOptions = ['-o', 'RemoteCommand=none'];

/** What debug access is to be is settled before CMD runs: a mistake in it must not show when it is too late. */
async function runCommand({ paths, name, rest = [], values, globals }: JobRequest): Promise<number> {
  if (rest.length === 0) throw jobMisused('which command? it stands behind --');
  const line = remoteCommandLine(rest);
  const onFailure = values['debug-on-failure'] === true;
  if (!onFailure && Object.keys(values).some((option) => option in accessOptions || option === 'format')) {
    throw jobMisused('options of debug access go with --debug-on-failure');
  }
  if (!readOpenJobs(paths).some((job) => job.name === name)) throw noJob(name);
  const format = parseLogFormat(values['format'] as string | undefined);
  const request = onFailure ? await debugRequest(values, locatedJob(paths, name)) : undefined;
  const vm = loadSettings(paths, { profile: globals.profile, region: globals.region }).named(name);
  const login = { paths, vm, globals };
  const { signal, dispose } = onEndSignal();
  try {
    const status = await withLoginConfig(login, (file) =>
      sshStatus(startProgram('ssh', sshArguments(file, sessionOptions, name, line), { stdio: 'inherit' })),
    );
    if (status === 0 || request === undefined || signal.aborted) return status;
    say(`the command failed with status ${status}`);
    const access = awsAccess(vm);
    try {
      await giveDebugAccess(request, {
        login,
        access,
        ...openStore(values, paths, access),
        signal,
        word: 'job run',
        announce: (announcement) => show(buildLogBlock(announcement, format, Date.now())),
      });
    } catch (error) {
      // Whoever runs a job wants to know how the job ended.
      reportError(error, globals.verbose);
    } finally {
      await access.aws.close();
    }
    return status;
  } finally {
    dispose();
  }
}

function noJob(name: string): MintError {
  return new MintError('job-not-found', `there is no job ${name}`, { hint: `mint-ssh job begin ${name}` });
}
