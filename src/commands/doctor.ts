import { isatty } from 'node:tty';
import type { Command, Invocation } from '../cli/command.ts';
import { print, printable, say } from '../cli/terminal.ts';
import { Aws } from '../doctor/aws.ts';
import type { Case } from '../doctor/case.ts';
import { type Finding, failed, runChecks } from '../doctor/check.ts';
import { allChecks, vmChecks } from '../doctor/checks.ts';
import { MintError } from '../errors.ts';
import { callerEnvironment } from '../platform/environment.ts';
import { type Paths, resolvePaths } from '../platform/paths.ts';
import { loadSettings, type Settings, type VmSettings } from '../settings/settings.ts';
import { vmName } from '../settings/vm-name.ts';
import { listCached } from '../vms/list-vms.ts';
import type { LocatedVm } from '../vms/located-vm.ts';
import { VmCache } from '../vms/vm-cache.ts';

export const command: Command = {
  usage: 'doctor [VM] [--json] [--file PATH]',
  help: `Looks at everything a login rests on, and says for each thing that is wrong what mends it. With a VM, it
asks AWS and the VM's address as well, and makes a real login, which pins the VM's host key where it is the
first. It changes nothing else. The exit status is 1 where something failed.`,
  options: {
    json: { type: 'boolean', description: 'print JSON: a list of check, status, message and hint' },
    file: { type: 'string', value: 'PATH', description: 'the Include is in PATH, not in ~/.ssh/config' },
  },
  run,
};

async function run({ positionals, values, globals }: Invocation): Promise<number> {
  const [given, ...more] = positionals;
  if (more.length > 0) {
    throw new MintError('usage', 'doctor looks at one VM at a time', {
      hint: `usage: mint-ssh ${command.usage}`,
    });
  }
  const name = given === undefined ? undefined : vmName(given);
  const paths = resolvePaths({ configDir: globals.configDir });
  const { settings, problems } = readSettings(paths, globals);
  const about: Case = {
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
    const vm = name === undefined || settings === undefined ? undefined : read(settings, name, problems);
    const checks = vm === undefined ? allChecks(about, problems, aws) : vmChecks({ ...about, vm }, aws);
    return await report(checks, values['json'] === true);
  } finally {
    await aws.close();
  }
}

/** What cannot be read is a finding like others: the rest is looked at all the same. */
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

/** What holds for a VM, be it in ssh.toml or not. */
function read(settings: Settings, name: string, problems: Finding[]): VmSettings | undefined {
  try {
    return settings.named(name);
  } catch (error) {
    const problem = failed(error);
    if (!problems.some(({ message }) => message === problem.message)) problems.push(problem);
    return undefined;
  }
}

/** What AWS showed last of VMs that ssh.toml does not name; nobody is asked. */
function discovered(paths: Paths, settings: Settings): ReadonlyMap<string, LocatedVm> {
  const caller = { environment: callerEnvironment(process.env) };
  const { vms } = listCached(new VmCache(paths), { caller, settings });
  return new Map([...vms].filter(([name, { found }]) => found !== 'id' && !settings.vms.includes(name)));
}

async function report(checks: Parameters<typeof runChecks>[0], json: boolean): Promise<number> {
  const rows: Record<string, unknown>[] = [];
  const width = Math.max(...checks.map(({ name }) => name.length));
  let status = 0;
  await runChecks(checks, {
    found({ name }, finding) {
      if (finding.status === 'fail') status = 1;
      const message = printable(finding.message);
      const hint = finding.hint === undefined ? undefined : printable(finding.hint);
      rows.push({ check: name, status: finding.status, message, hint: hint ?? null });
      if (json) return;
      print(`${finding.status.padEnd(4)}  ${name.padEnd(width)}  ${message}`);
      if (hint !== undefined) print(`${' '.repeat(width + 6)}  hint: ${hint}`);
    },
    slow({ name }) {
      if (isatty(2)) say(`${name} …`);
    },
  });
  if (json) print(JSON.stringify(rows, undefined, 2));
  return status;
}
