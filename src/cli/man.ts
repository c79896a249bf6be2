/** Makes the manual page mint-ssh(1) from the command table, in man(7) macros that groff and mandoc understand. */

import { version } from '../version.ts';
import { globalOptions } from './arguments.ts';
import type { CommandText } from './grammar.ts';
import { commandOptionTexts, type OptionText, optionTexts } from './help.ts';

/** @returns the source of the page, with a final newline */
export function manualPage(commands: readonly CommandText[]): string {
  return `${[
    `.TH MINT\\-SSH 1 "" "mint\\-ssh ${literal(version)}" "User Commands"`,
    '.SH NAME',
    'mint\\-ssh \\- plain ssh to an EC2 VM by its name, with no key to manage and no prompt to dismiss',
    '.SH SYNOPSIS',
    ...commands.flatMap(({ command }) => [`.B mint\\-ssh ${literal(command.usage)}`, '.br']).slice(0, -1),
    '.SH DESCRIPTION',
    ...prose(description),
    '.SH COMMANDS',
    ...commands.flatMap(commandSection),
    '.SH OPTIONS OF EVERY COMMAND',
    ...optionTexts(globalOptions).flatMap(tagged),
    '.SH ENVIRONMENT',
    ...pairs(environment),
    '.SH FILES',
    'All files are in the directory that \\fB\\-\\-config\\-dir\\fR or \\fBMINT_CONFIG_DIR\\fR names.',
    ...pairs(files),
    '.SH EXIT STATUS',
    ...pairs(statuses),
    '.SH SEE ALSO',
    '.BR ssh (1),',
    '.BR ssh_config (5)',
  ].join('\n')}\n`;
}

const description = `mint-ssh is the ProxyCommand of your VMs in ssh_config, and an ssh agent beside it. It turns the VM's
name into an instance, authorizes a fresh key there through EC2 Instance Connect while it dials, reads the host
key in the passing key exchange and compares it with the one that is pinned, and serves that one key, from memory,
to that one connection.

Begin with VMs in \`ssh.toml\`, then \`mint-ssh ssh-config\`, then \`ssh VM\`; \`mint-ssh doctor VM\` says what is wrong.`;

const environment: readonly OptionText[] = [
  { form: 'MINT_CONFIG_DIR', description: 'the directory, instead of ~/.config/mint' },
  { form: 'AWS_*', description: 'as the AWS CLI takes them: they travel with each request to the agent' },
];

const files: readonly OptionText[] = [
  { form: 'ssh.toml', description: 'the VMs and the settings' },
  { form: 'config.toml', description: "Mint's own: region and aws_profile are read" },
  { form: 'known_hosts', description: 'the pinned host keys, shared with Mint' },
  { form: 'hosts/', description: 'a record of each pin, and the known-hosts file that ssh checks' },
  { form: 'ssh_config', description: 'the generated blocks, brought in by one Include in ~/.ssh/config' },
  { form: 'run/', description: 'the sockets, and agent.log; run_dir in ssh.toml moves it' },
  { form: 'audit.log', description: 'every push, login and changed host key, a JSON object a line' },
];

const statuses: readonly OptionText[] = [
  { form: '0', description: 'done' },
  { form: '1', description: 'everything that is not one of the others' },
  { form: '2', description: 'a wrong word or setting' },
  { form: '3', description: 'refused for safety' },
];

function commandSection({ command }: CommandText): string[] {
  return [
    `.SS mint\\-ssh ${literal(command.usage)}`,
    ...prose(command.help),
    ...(command.words ?? []).flatMap(([form, about]) => tagged({ form, description: about })),
    ...commandOptionTexts(command).flatMap(tagged),
  ];
}

/** Formats paragraphs; indented lines are kept as they are. */
function prose(source: string): string[] {
  const paragraphs = source.trimEnd().split(/\n{2,}/);
  return paragraphs.flatMap((paragraph, at) => {
    const lines = paragraph.split('\n');
    const start = at === 0 ? [] : ['.PP'];
    if (!lines.every((line) => line.startsWith('  ')))
      return [...start, ...lines.map((line) => text(line.trim()))];
    return [...start, '.RS 4', '.nf', ...lines.map((line) => asText(literal(line.slice(2)))), '.fi', '.RE'];
  });
}

function pairs(rows: readonly OptionText[]): string[] {
  return rows.flatMap(tagged);
}

function tagged({ form, description: about }: OptionText): string[] {
  return ['.TP', `\\fB${literal(form)}\\fR`, text(about)];
}

/** Makes text in backticks bold. */
function text(line: string): string {
  const pieces = line.split(/`([^`]*)`/);
  return asText(
    pieces.map((piece, at) => (at % 2 === 1 ? `\\fB${literal(piece)}\\fR` : literal(piece))).join(''),
  );
}

/** Escapes the start of a line: a full stop or a quote there would make it a request. */
function asText(line: string): string {
  return /^[.']/.test(line) ? `\\&${line}` : line;
}

/** Escapes text so that every character is printed literally and commands can be copied from the page. */
function literal(source: string): string {
  return source
    .replace(/[\\\-`'^~"]/g, (character) => names[character] ?? character)
    .replace(/[^\n -~]/gu, (character) => {
      const code = (character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0');
      return `\\[u${code}]`;
    });
}

const names: Readonly<Record<string, string>> = {
  '\\': '\\e',
  '-': '\\-',
  '`': '\\(ga',
  "'": '\\(aq',
  '^': '\\(ha',
  '~': '\\(ti',
  '"': '\\(dq',
};
