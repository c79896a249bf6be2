/**
 * What goes into a build log. GitHub, GitLab and others run commands that they find in a log, and people read it on a
 * terminal: foreign text (what a VM prints, a lease's fields) passes `inert` first.
 */
import type { Readable } from 'node:stream';
import { command } from '../cli/shell-command.ts';
import { printable, show } from '../cli/terminal.ts';
import { MintError } from '../errors.ts';
import type { Lease } from './leases.ts';

/**
 * Makes one line harmless for a terminal and for a log.
 *
 * - Control characters, among them the escape sequences of terminals and GitLab's section markers, become `\u{…}`.
 * - GitHub's runner takes `##[word]` anywhere in a line for a command, Azure and TeamCity `##vso[` and `##teamcity[`.
 * - GitHub takes `::word::` at the start of a line for a command.
 *
 * @see https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands
 */
export function inert(line: string): string {
  return printable(line)
    .replace(/##(?=[\w.-]*\[)/g, '## ')
    .replace(/^(\s*):(?=:)/, '$1: ');
}

/** Of one session: more is cut off. */
const maxShownBytes = 65_536;
const maxLineBytes = 4_096;

/** Shows what a session on a VM writes, line by line on our stderr, and harmless. */
export function showInert(stream: Readable): void {
  let pending = '';
  let shownBytes = 0;
  const showLine = (line: string) => {
    if (shownBytes > maxShownBytes) return;
    shownBytes += line.length + 1;
    show(shownBytes > maxShownBytes ? '(more output of the VM is not shown)' : inert(line));
  };
  // A carriage return alone would let the rest of a line overwrite its beginning.
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

/** What a person needs to log into a VM, and what ends it. */
export interface Announcement {
  readonly lease: Lease;
  readonly hostKey: { readonly type: string; readonly base64: string; readonly fingerprint: string };
  /** A one-off private key in OpenSSH's format, where that was asked for. */
  readonly privateKey: string | undefined;
  /** `SHA256:…` of the keys that are authorized. */
  readonly authorized: readonly string[];
  /** What was armed on the VM: `systemd-run`, `shutdown`, `end-command`. */
  readonly armedBy: string;
  /** What `debug end` needs beside the lease's ID, fit for a shell: empty, or ` --leases dynamodb:TABLE`. */
  readonly endOptions: string;
}

/** The block, ending in a newline. @param now milliseconds since 1970 */
export function buildLogBlock(announcement: Announcement, format: LogFormat, now: number): string {
  const facts = factsOf(announcement);
  const title = `debug access by mint-ssh: ${inert(facts.vm)}`;
  switch (format) {
    case 'json':
      return `${JSON.stringify(facts)}\n`;
    case 'github':
      // A group that folds. A notice would show host, port and user outside the log.
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
  readonly authorized: readonly string[];
  /** ISO 8601, in UTC. */
  readonly ends_at: string;
  readonly armed_by: string;
  /** For a shell on the VM, on the caller's machine, and without mint-ssh. */
  readonly end_inside: string;
  readonly end_outside: string;
  readonly end_by_aws?: string;
  readonly private_key?: string;
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
    authorized,
    ends_at: new Date(endsAt).toISOString(),
    armed_by: armedBy,
    end_inside: 'sudo poweroff',
    end_outside: `mint-ssh debug end ${id}${endOptions}`,
    ...(destroy.kind === 'command'
      ? {}
      : {
          end_by_aws: command`aws ec2 terminate-instances --region ${destroy.region} --instance-ids ${destroy.instance}`,
        }),
    ...(privateKey === undefined ? {} : { private_key: privateKey }),
  };
}

/** sshd(8), SSH_KNOWN_HOSTS FILE FORMAT: a port other than 22 is written behind the name in brackets. */
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
    ['authorized', facts.authorized.join(', ')],
    ['ends', `${facts.ends_at}, in ${minutes} min (${facts.armed_by} on the VM); it cannot be extended`],
  ] as const;
  const key =
    facts.private_key === undefined
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
    'To end it before its time:',
    `${facts.end_inside.padEnd(40)} # on the VM`,
    inert(facts.end_outside),
    ...(facts.end_by_aws === undefined ? [] : [facts.end_by_aws]),
    '',
    'The VM is destroyed then, with everything on it.',
  ];
}

function rule(title: string): string {
  return `==== ${title} ${'='.repeat(Math.max(4, 74 - title.length))}`;
}

/** The text of one of GitHub's workflow commands. */
function commandData(text: string): string {
  return text.replaceAll('%', '%25').replaceAll('\r', '%0D').replaceAll('\n', '%0A');
}

/**
 * https://docs.gitlab.com/ci/jobs/job_logs/#create-custom-collapsible-sections: the markers begin and end with "erase the
 * line", with a carriage return between; a section's name has letters, digits, `_`, `.` and `-`.
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
