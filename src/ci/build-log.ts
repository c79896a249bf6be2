/**
 * Text for a build log. GitHub, GitLab and others run commands that they find in a log, and users read it on a terminal.
 * So untrusted text (a VM's output, the fields of a lease) passes `inert` first.
 */
import type { Readable } from 'node:stream';
import { command } from '../cli/shell-command.ts';
import { printable, show } from '../cli/terminal.ts';
import { isoTime } from '../cli/time.ts';
import { MintError } from '../errors.ts';
import type { Lease } from './leases.ts';

/**
 * Makes one line harmless for terminals and CI systems.
 *
 * - Control characters become `\u{…}`. They start the escape sequences of terminals and GitLab's section markers.
 * - `##[word]` anywhere in a line is a command to GitHub's runner, `##vso[` to Azure and `##teamcity[` to TeamCity.
 * - `::word::` at the start of a line is a command to GitHub.
 *
 * @see https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands
 */
export function inert(line: string): string {
  return printable(line)
    .replace(/##(?=[\w.-]*\[)/g, '## ')
    .replace(/^(\s*):(?=:)/, '$1: ');
}

/** The maximum output of one session that is shown, in bytes. */
const maxShownBytes = 65_536;
const maxLineBytes = 4_096;

/** Copies the output of a session on a VM to stderr, line by line and harmless. */
export function showInert(stream: Readable): void {
  let pending = '';
  let shownBytes = 0;
  const showLine = (line: string) => {
    if (shownBytes > maxShownBytes) return;
    shownBytes += line.length + 1;
    show(shownBytes > maxShownBytes ? '(more output of the VM is not shown)' : inert(line));
  };
  // A lone carriage return would let the rest of a line overwrite its start.
  stream.setEncoding('utf8').on('data', (text: string) => {
    const lines = (pending + text).split(/\r*\n|\r+(?=[^\n])/);
    pending = lines.pop() ?? '';
    for (const line of lines) showLine(line);
    if (pending.length > maxLineBytes) {
      showLine(pending);
      pending = '';
    }
  });
  stream.on('end', () => {
    if (pending !== '') showLine(pending.replace(/\r+$/, ''));
  });
  stream.on('error', () => {});
}

export const logFormats = ['text', 'github', 'gitlab', 'json'] as const;
export type LogFormat = (typeof logFormats)[number];

/** @throws MintError `usage` */
export function parseLogFormat(text: string | undefined): LogFormat {
  const found = logFormats.find((format) => format === (text ?? 'text'));
  if (found !== undefined) return found;
  throw new MintError('usage', `unknown --format "${printable((text ?? '').slice(0, 40))}"`, {
    hint: `--format ${logFormats.join('|')}`,
  });
}

/** What a visitor needs to log in to a VM, and how to end it. */
export interface Announcement {
  readonly lease: Lease;
  readonly hostKey: { readonly type: string; readonly base64: string; readonly fingerprint: string };
  /** A one-off private key in OpenSSH's format, if requested. */
  readonly privateKey: string | undefined;
  /** `SHA256:…` of the authorized keys. */
  readonly authorized: readonly string[];
  /** How the end was armed on the VM: `systemd-run`, `shutdown`, `end-command`. */
  readonly armedBy: string;
  /** Arguments of `debug end` after the lease ID, quoted for a shell: empty, or ` --leases dynamodb:TABLE`. */
  readonly endOptions: string;
}

/**
 * @param now milliseconds since 1970
 * @returns the block for the build log, with a newline at its end
 */
export function buildLogBlock(announcement: Announcement, format: LogFormat, now: number): string {
  const facts = factsOf(announcement);
  const title = `debug access by mint-ssh: ${inert(facts.vm)}`;
  switch (format) {
    case 'json':
      return `${JSON.stringify(facts)}\n`;
    case 'github':
      // A group, which can be folded. A notice would show host, port and user outside the log.
      return lines(`::group::${commandData(title)}`, ...body(facts, now), '::endgroup::');
    case 'gitlab':
      return gitlabSection(title, facts.lease, body(facts, now), now);
    case 'text':
      return lines(rule(title), ...body(facts, now), rule('end of debug access'));
  }
}

/** The fields of the JSON format. */
interface Facts {
  readonly lease: string;
  readonly project: string;
  readonly vm: string;
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly host_key_type: string;
  readonly host_key_fingerprint: string;
  readonly known_hosts: string;
  /** For a shell: the known_hosts file, then ssh. */
  readonly commands: readonly string[];
  readonly authorized_fingerprints: readonly string[];
  /** ISO 8601, in UTC. */
  readonly ends_at: string;
  readonly armed_by: string;
  /** For a shell on the VM, on the caller's machine, and without mint-ssh. */
  readonly end_inside: string;
  readonly end_outside: string;
  /** Null for a VM that is not an EC2 instance. */
  readonly end_by_aws: string | null;
  readonly private_key: string | null;
}

function factsOf(announcement: Announcement): Facts {
  const { lease, hostKey, privateKey, authorized, armedBy, endOptions } = announcement;
  const { id, project, vm, host, port, user, endsAt, destroy } = lease;
  const known = knownHostsLine(host, port, `${hostKey.type} ${hostKey.base64}`);
  const knownHosts = `mint-debug-${id}.known_hosts`;
  const identity = privateKey === undefined ? '' : ` -i mint-debug-${id}.key -o IdentitiesOnly=yes`;
  const options = `-o UserKnownHostsFile=${knownHosts} -o StrictHostKeyChecking=yes`;
  return {
    lease: id,
    project,
    vm,
    host,
    port,
    user,
    host_key_type: hostKey.type,
    host_key_fingerprint: hostKey.fingerprint,
    known_hosts: known,
    commands: [`echo '${known}' > ${knownHosts}`, `ssh ${options}${identity} -p ${port} ${user}@${host}`],
    authorized_fingerprints: authorized,
    ends_at: isoTime(endsAt) ?? '',
    armed_by: armedBy,
    end_inside: 'sudo poweroff',
    end_outside: `mint-ssh debug end ${id}${endOptions}`,
    end_by_aws:
      destroy.kind === 'command'
        ? null
        : command`aws ec2 terminate-instances --region ${destroy.region} --instance-ids ${destroy.instance}`,
    private_key: privateKey ?? null,
  };
}

/** sshd(8), SSH_KNOWN_HOSTS FILE FORMAT: with a port other than 22, the name is in brackets. */
function knownHostsLine(host: string, port: number, key: string): string {
  return `${port === 22 ? host : `[${host}]:${port}`} ${key}`;
}

function body(facts: Facts, now: number): string[] {
  const minutes = Math.max(1, Math.round((Date.parse(facts.ends_at) - now) / 60_000));
  const pairs = [
    ['project', facts.project],
    ['VM', facts.vm],
    ['host', facts.host],
    ['port', String(facts.port)],
    ['user', facts.user],
    ['host key', `${facts.host_key_fingerprint} (${facts.host_key_type})`],
    ['known_hosts', facts.known_hosts],
    ['authorized', facts.authorized_fingerprints.join(', ')],
    ['ends', `${facts.ends_at}, in ${minutes} min (${facts.armed_by} on the VM); it cannot be extended`],
  ] as const;
  const key =
    facts.private_key === null
      ? []
      : [
          `(umask 077; cat > mint-debug-${facts.lease}.key) <<'END'`,
          ...facts.private_key.trimEnd().split('\n'),
          'END',
        ];
  return [
    ...pairs.map(([name, value]) => `${`${name}:`.padEnd(13)}${inert(value)}`),
    '',
    'To log in:',
    ...key,
    ...facts.commands.map(inert),
    '',
    'To end it early:',
    `${facts.end_inside.padEnd(40)} # on the VM`,
    inert(facts.end_outside),
    ...(facts.end_by_aws === null ? [] : [facts.end_by_aws]),
    '',
    'At the end the VM is destroyed, with all its data.',
  ];
}

function rule(title: string): string {
  return `==== ${title} ${'='.repeat(Math.max(4, 74 - title.length))}`;
}

/** Escapes the text of a GitHub workflow command. */
function commandData(text: string): string {
  return text.replaceAll('%', '%25').replaceAll('\r', '%0D').replaceAll('\n', '%0A');
}

/**
 * https://docs.gitlab.com/ci/jobs/job_logs/#create-custom-collapsible-sections: a marker begins and ends with the escape
 * sequence that erases the line, and has a carriage return in between. A section's name has letters, digits, `_`, `.`
 * and `-`.
 */
function gitlabSection(title: string, lease: string, text: readonly string[], now: number): string {
  const erase = '\u001b[0K';
  const seconds = Math.floor(now / 1000);
  const marker = (word: string) => `${erase}section_${word}:${seconds}:mint_debug_${lease}\r${erase}`;
  return lines(`${marker('start')}${title}`, ...text, marker('end'));
}

function lines(...text: readonly string[]): string {
  return `${text.join('\n')}\n`;
}
