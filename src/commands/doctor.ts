/** `mint-ssh doctor`: checks what a login needs, and names for each failure the command that fixes it. */
import { painter, type Style } from '../cli/colour.ts';
import { outputWidth } from '../cli/columns.ts';
import type { Command, Invocation } from '../cli/command.ts';
import { startProgress } from '../cli/progress.ts';
import { print, printable, printJson } from '../cli/terminal.ts';
import { wrap } from '../cli/wrap.ts';
import { Aws } from '../doctor/aws.ts';
import { type Finding, failed, runChecks, type Status } from '../doctor/check.ts';
import { allChecks, vmChecks } from '../doctor/checks.ts';
import type { CheckContext } from '../doctor/context.ts';
import { administratorReport, type ReportedFinding } from '../doctor/report.ts';
import { MintError } from '../errors.ts';
import { thisCaller } from '../platform/caller.ts';
import { type Paths, resolvePaths } from '../platform/paths.ts';
import { loadSettings, type Settings, type VmSettings } from '../settings/settings.ts';
import { vmName } from '../settings/vm-name.ts';
import { findVm, proxyOptionsFor } from '../vms/find-vm.ts';
import { listCached } from '../vms/list-vms.ts';
import type { LocatedVm } from '../vms/located-vm.ts';
import { VmCache } from '../vms/vm-cache.ts';

export const command: Command = {
  usage: 'doctor [VM] [--json | --report] [--file PATH]',
  help: `Checks everything that a login needs. A finding is ok, warn, fail, or not checked, with the reason. Each
failure comes with a command or a change that fixes it. With a VM, it also asks AWS, dials the VM and logs in
to it, which pins its host key where this is the first login. It changes nothing else.

--report prints one page for the administrator of the AWS account: the findings, and the IAM policy that is
missing. It contains no secrets. The exit status is 1 if something failed.`,
  options: {
    json: { type: 'boolean', description: 'print JSON: see docs/json.md' },
    report: { type: 'boolean', description: 'print a page for the administrator of the account' },
    file: { type: 'string', value: 'PATH', description: 'the Include is in PATH, not in ~/.ssh/config' },
  },
  run,
};

async function run({ positionals, values, globals }: Invocation): Promise<number> {
  const [given, ...more] = positionals;
  if (more.length > 0) {
    throw new MintError('usage', 'doctor takes one VM', { hint: `usage: mint-ssh ${command.usage}` });
  }
  const name = given === undefined ? undefined : vmName(given);
  const paths = resolvePaths({ configDir: globals.configDir });
  const { settings, problems } = readSettings(paths, globals);
  const about: CheckContext = {
    paths,
    globals,
    environment: process.env,
    sshConfigFile: values['file'] as string | undefined,
    upstreamAgent: settings?.upstreamAgent,
    vms: settings?.vms.flatMap((vm) => read(settings, vm, problems) ?? []) ?? [],
    others: settings && read(settings, 'x', problems),
    discovered: settings === undefined ? new Map() : discovered(paths, settings),
  };
  const aws = new Aws(paths, process.env);
  try {
    const named = name === undefined || settings === undefined ? undefined : read(settings, name, problems);
    const found =
      named === undefined || settings === undefined ? undefined : await located(paths, settings, named);
    const checks =
      found === undefined ? allChecks(about, problems, aws) : vmChecks({ ...about, ...found }, aws);
    if (values['report'] !== true) return await tell(checks, values['json'] === true);
    const findings = await collect(checks);
    const vm = found?.vm ?? about.others;
    const identity = vm && (await aws.identity(vm).catch(() => undefined));
    const region = vm?.region ?? process.env['AWS_REGION'] ?? process.env['AWS_DEFAULT_REGION'];
    const instance = found && (await aws.instance(found.vm).catch(() => undefined));
    const id = typeof instance === 'object' && 'id' in instance ? instance.id : undefined;
    print(administratorReport({ findings, identity, region, instance: id, user: found?.vm.user }));
    return findings.some(({ status }) => status === 'fail') ? 1 : 0;
  } finally {
    await aws.close();
  }
}

/** The VM with the user and port that a login uses; if the VM cannot be found, the checks report why. */
async function located(paths: Paths, settings: Settings, vm: VmSettings) {
  try {
    const found = await findVm({ paths, settings, name: vm.name });
    return { vm: found.vm, proxyOptions: proxyOptionsFor(found) };
  } catch {
    return { vm, proxyOptions: ['--by-name'] };
  }
}

/** Settings that cannot be read are a finding; everything else is still checked. */
function readSettings(
  paths: Paths,
  { profile, region }: Invocation['globals'],
): { readonly settings: Settings | undefined; readonly problems: Finding[] } {
  try {
    return { settings: loadSettings(paths, { profile, region }), problems: [] };
  } catch (error) {
    return { settings: undefined, problems: [failed(error)] };
  }
}

/** The settings of a VM, whether it is in ssh.toml or not. */
function read(settings: Settings, name: string, problems: Finding[]): VmSettings | undefined {
  try {
    return settings.named(name);
  } catch (error) {
    const problem = failed(error);
    if (!problems.some(({ message }) => message === problem.message)) problems.push(problem);
    return undefined;
  }
}

/** What AWS showed last of VMs that ssh.toml does not name, from the cache. */
function discovered(paths: Paths, settings: Settings): ReadonlyMap<string, LocatedVm> {
  const caller = thisCaller();
  const { vms } = listCached(new VmCache(paths), { caller, settings });
  return new Map([...vms].filter(([name, { found }]) => found !== 'id' && !settings.vms.includes(name)));
}

type Checks = Parameters<typeof runChecks>[0];

const labels: Readonly<Record<Status, readonly [label: string, style: Style]>> = {
  ok: ['ok', 'green'],
  warn: ['warn', 'yellow'],
  fail: ['FAIL', 'red'],
  'not-checked': ['-', 'dim'],
};

/** Prints one line for each finding as it comes; with `json`, all findings at the end. */
async function tell(checks: Checks, json: boolean): Promise<number> {
  const rows: Record<string, unknown>[] = [];
  const nameWidth = Math.max(...checks.map(({ name }) => name.length));
  const indent = ' '.repeat(nameWidth + 8);
  const textWidth = Math.max(30, (outputWidth() ?? Number.POSITIVE_INFINITY) - indent.length);
  const paint = painter();
  let status = 0;
  const lines = (text: string) => wrap(text, textWidth).join(`\n${indent}`);
  await watch(checks, (name, finding) => {
    if (finding.status === 'fail') status = 1;
    const { message, hint } = finding;
    rows.push({ check: name, status: finding.status, message, hint: hint ?? null });
    if (json) return;
    const [label, style] = labels[finding.status];
    print(`${paint(style, label.padEnd(4))}  ${name.padEnd(nameWidth)}  ${lines(message)}`);
    if (hint !== undefined) print(`${indent}${lines(`hint: ${hint}`)}`);
  });
  if (json) printJson(rows);
  return status;
}

async function collect(checks: Checks): Promise<readonly ReportedFinding[]> {
  const findings: ReportedFinding[] = [];
  await watch(checks, (name, finding) => findings.push({ ...finding, check: name }));
  return findings;
}

/** Runs the checks, shows the pending ones as progress, and escapes foreign text in the findings. */
async function watch(checks: Checks, found: (name: string, finding: Finding) => void): Promise<void> {
  const progress = startProgress('checking');
  try {
    await runChecks(checks, {
      found({ name }, { message, hint, ...finding }) {
        const safe = hint === undefined ? undefined : printable(hint);
        found(name, { ...finding, message: printable(message), hint: safe });
      },
      waiting: (pending) => progress.update(`checking ${pending.map(({ name }) => name).join(', ')}`),
    });
  } finally {
    progress.end();
  }
}
