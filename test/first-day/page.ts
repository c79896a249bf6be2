/**
 * Runs the first day and writes docs/first-day.md: the figures of this machine, and what the terminal showed.
 *
 *     node test/first-day/page.ts
 */
import { writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { table } from '../reliability-page.ts';
import { runFirstDay, type Way } from './first-day.ts';

const day = await runFirstDay();
const row = (name: string, { commands, seconds }: Way) => [
  name,
  String(commands.length - 3),
  '3',
  seconds.toFixed(1),
];
const screens = [
  ['setup', 'By `mint-ssh setup`: `a` marks all VMs, Enter continues, and `yes` writes.'],
  ['by hand', 'By hand: `vms`, then `ssh-config`.'],
  ['vms', '`mint-ssh vms`, afterwards.'],
  ['picker', '`mint-ssh` alone.'],
  ['doctor', '`mint-ssh doctor data`, while the SSH server of `data` is stopped.'],
  ['warning', '`ssh build`, after the VM got a new host key.'],
] as const;

const text = `# The first day

Recorded by \`npm run first-day\` with real ssh and sshd on one machine. **AWS is simulated**, so the times contain no network or AWS
delay. A user without root rights and with an empty home directory has the installed program, AWS
credentials in the environment, and three ordinary EC2 instances: \`Name\` tags, sshd on port 22, images of Ubuntu, Amazon Linux and
Debian with their users \`ubuntu\`, \`ec2-user\` and \`admin\`. The terminal is tmux with 80 columns. [first-day.test.ts](../test/first-day/first-day.test.ts) runs the same and checks that each login succeeds and
that no row is longer than the terminal, but for lines of a file in the diff of \`ssh-config\`.

From the installed program to three logins, typed without a pause (${cpus().length} × ${cpus()[0]?.model.trim()}, ${new Date().toISOString().slice(0, 10)}):

${table(['way', 'commands to set up', 'logins', 'seconds'], [row('`mint-ssh setup`', day.setup), row('by hand', day.byHand)])}

The npm package answers \`mint-ssh --version\` in 50 ms once its compile cache is warm, the executable in 34 ms, and Node alone starts
in 26 ms: each the fastest of 20 runs in turn, on a busy machine of that kind, 2026-11-27.

${screens.map(([name, title]) => `## ${name[0]?.toUpperCase()}${name.slice(1)}\n\n${title}\n\n\`\`\`text\n${day.captures[name]?.trim()}\n\`\`\``).join('\n\n')}
`;
writeFileSync(join(import.meta.dirname, '../../docs/first-day.md'), text);
