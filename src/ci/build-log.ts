/** The block that a build log shows: clearly fenced, and in the words that the log's system gives sections. */
import { printable } from '../cli/terminal.ts';
import { MintError } from '../errors.ts';
import { type Announcement, type AnnouncementFields, announcementFields } from './announcement.ts';

export const logFormats = ['text', 'github', 'gitlab', 'json'] as const;
export type LogFormat = (typeof logFormats)[number];

/** @throws MintError `usage` */
export function parseLogFormat(text: string | undefined): LogFormat {
  const found = logFormats.find((format) => format === (text ?? 'text'));
  if (found !== undefined) return found;
  throw new MintError('usage', `there is no format "${printable((text ?? '').slice(0, 40))}"`, {
    hint: `--format ${logFormats.join('|')}`,
  });
}

/** The whole block, ending in a newline. @param now milliseconds since 1970 */
export function buildLogBlock(announcement: Announcement, format: LogFormat, now: number): string {
  const fields = announcementFields(announcement);
  switch (format) {
    case 'json':
      return `${JSON.stringify(fields)}\n`;
    case 'github':
      return github(fields, bodyLines(fields, now));
    case 'gitlab':
      return gitlab(fields, bodyLines(fields, now), now);
    case 'text':
      return `${[rule(`mint-ssh debug access to ${inert(fields.vm)}`), ...bodyLines(fields, now), rule('end of mint-ssh debug access')].join('\n')}\n`;
  }
}

function rule(title: string): string {
  return `==== ${title} ${'='.repeat(Math.max(4, 74 - title.length))}`;
}

/** Plain lines. A one-off key is the only secret that can stand here, and only where it was asked for. */
function bodyLines(fields: AnnouncementFields, now: number): string[] {
  const minutes = Math.max(1, Math.round((Date.parse(fields.ends_at) - now) / 60_000));
  const pairs = [
    ['project', fields.project],
    ['VM', fields.vm],
    ['host', fields.host],
    ['port', String(fields.port)],
    ['user', fields.user],
    ['host key', `${fields.host_key_fingerprint} (${fields.host_key_type})`],
    ['known_hosts', fields.known_hosts],
    ['lets in', fields.admitted.join(', ')],
    ['ends', `${fields.ends_at}, in ${minutes} min; nothing makes it later (${fields.armed_by} on the VM)`],
  ] as const;
  const key =
    fields.private_key === undefined
      ? []
      : [
          `(umask 077; cat > mint-debug-${fields.lease}.key) <<'END'`,
          ...fields.private_key.trimEnd().split('\n'),
          'END',
        ];
  return [
    ...pairs.map(([name, value]) => `${`${name}:`.padEnd(13)}${inert(value)}`),
    '',
    'To log in:',
    ...key,
    ...fields.commands.map(inert),
    '',
    `To end it, inside:      ${fields.end_inside}`,
    `To end it, elsewhere:   ${inert(fields.end_outside)}`,
    'The VM is destroyed then, with everything on it.',
  ];
}

/**
 * Text that neither a terminal nor a log's system acts on: GitHub's runner takes `##[word]` anywhere in a line for a
 * command, and `::word::` where a line begins with it.
 */
function inert(text: string): string {
  return printable(text)
    .replaceAll('##[', '## [')
    .replace(/^(\s*):(?=:)/, '$1: ');
}

/**
 * https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands: a group that folds, and an
 * annotation that stands at the top of the run.
 */
function github(fields: AnnouncementFields, lines: readonly string[]): string {
  const title = `mint-ssh debug access to ${fields.vm}`;
  const notice = `${fields.commands.at(-1) ?? ''} until ${fields.ends_at}; the log has the rest`;
  return [
    `::group::${data(title)}`,
    ...lines,
    '::endgroup::',
    `::notice title=${property(title)}::${data(notice)}`,
    '',
  ].join('\n');
}

function data(text: string): string {
  return inert(text).replaceAll('%', '%25').replaceAll('\r', '%0D').replaceAll('\n', '%0A');
}

function property(text: string): string {
  return data(text).replaceAll(':', '%3A').replaceAll(',', '%2C');
}

/**
 * https://docs.gitlab.com/ci/jobs/job_logs/#create-custom-collapsible-sections: the markers begin and end in "erase the
 * line", with a carriage return between; a section's name has letters, digits, `_`, `.` and `-`. It starts unfolded.
 */
function gitlab(fields: AnnouncementFields, lines: readonly string[], now: number): string {
  const erase = '\u001b[0K';
  const seconds = Math.floor(now / 1000);
  const marker = (word: string) => `${erase}section_${word}:${seconds}:mint_debug_${fields.lease}\r${erase}`;
  return [`${marker('start')}mint-ssh debug access to ${inert(fields.vm)}`, ...lines, marker('end'), ''].join(
    '\n',
  );
}
