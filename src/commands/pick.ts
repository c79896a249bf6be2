/** `mint-ssh` alone on a terminal: a list of VMs to pick from. The prompt library is loaded here and nowhere else. */

import { spawnSync } from 'node:child_process';
import {
  createPrompt,
  isBackspaceKey,
  isDownKey,
  isEnterKey,
  isUpKey,
  type KeypressEvent,
  useKeypress,
  usePagination,
  useState,
} from '@inquirer/core';
import { parseInvocation } from '../cli/arguments.ts';
import { painter } from '../cli/colour.ts';
import { columns, outputWidth } from '../cli/columns.ts';
import { hint, print, printable, say } from '../cli/terminal.ts';
import { Interrupted } from '../errors.ts';
import { thisCaller } from '../platform/caller.ts';
import { resolvePaths } from '../platform/paths.ts';
import { writtenNames } from '../settings/approved-names.ts';
import { loadSettings } from '../settings/settings.ts';
import { approvedNames } from '../ssh-config/approvals.ts';
import { TrustStore } from '../trust/store.ts';
import { listCached } from '../vms/list-vms.ts';
import { VmCache } from '../vms/vm-cache.ts';
import { command as sshCommand } from './ssh.ts';
import { command as startCommand } from './start.ts';
import { readRows, span, stateOf, type VmRow } from './vm-rows.ts';
import { isOld, refresh } from './vms.ts';

type Choice =
  | { readonly action: 'connect' | 'code' | 'start'; readonly name: string }
  | { readonly action: 'quit' };

const pageSize = 12;
const keys = 'Enter connects · c VS Code · s start · / filter · Esc quit';

/** @param own the options that were given, which the chosen command gets too */
export async function pickVm(own: readonly string[]): Promise<number> {
  const invocation = (words: readonly string[]) =>
    parseInvocation(sshCommand, { own: [...words, ...own], rest: undefined });
  for (;;) {
    const rows = await readAll(invocation(['ssh']).globals);
    if (rows.length === 0) {
      say('no VM is known yet');
      hint('mint-ssh setup');
      return 1;
    }
    const choice = await choose(rows);
    switch (choice.action) {
      case 'quit':
        return 0;
      case 'connect':
        return await sshCommand.run(invocation(['ssh', choice.name]));
      case 'code':
        return openCode(rows.find(({ name }) => name === choice.name));
      case 'start':
        await startCommand.run(invocation(['start', choice.name]));
    }
  }
}

async function readAll({
  configDir,
  profile,
  region,
}: {
  configDir: string | undefined;
  profile: string | undefined;
  region: string | undefined;
}): Promise<readonly VmRow[]> {
  const paths = resolvePaths({ configDir });
  const settings = loadSettings(paths, { profile, region });
  const cache = new VmCache(paths);
  const caller = thisCaller();
  const written = writtenNames(paths);
  const request = { caller, settings, approved: [...approvedNames(paths)], all: true };
  if (isOld(cache, request)) await refresh(cache, request);
  const rows = readRows(settings, listCached(cache, request).vms, written.all, new TrustStore(paths).list());
  // Most recently used VMs come first.
  return rows.toSorted((one, other) => (other.lastUsed ?? '').localeCompare(one.lastUsed ?? ''));
}

async function choose(rows: readonly VmRow[]): Promise<Choice> {
  try {
    return await prompt({ rows });
  } catch (error) {
    if (error instanceof Error && error.name === 'ExitPromptError') throw new Interrupted();
    throw error;
  }
}

const prompt = createPrompt<Choice, { readonly rows: readonly VmRow[] }>(({ rows }, done) => {
  const [filter, setFilter] = useState('');
  const [isTyping, setIsTyping] = useState(false);
  const [isHelp, setIsHelp] = useState(false);
  const [active, setActive] = useState(0);
  const [isDone, setIsDone] = useState(false);
  const found = rows.filter(({ name }) => name.includes(filter.toLowerCase()));
  const chosen = found[Math.min(active, found.length - 1)];
  const finish = (choice: Choice) => {
    setIsDone(true);
    done(choice);
  };
  useKeypress((key, readline) => {
    readline.clearLine(0);
    if (isEnterKey(key)) {
      if (chosen !== undefined) finish({ action: 'connect', name: chosen.name });
    } else if (key.name === 'escape') {
      if (filter === '' && !isTyping && !isHelp) return finish({ action: 'quit' });
      setFilter('');
      setIsTyping(false);
      setIsHelp(false);
    } else if (isUpKey(key)) setActive(Math.max(0, active - 1));
    else if (isDownKey(key)) setActive(Math.min(found.length - 1, active + 1));
    else if (isBackspaceKey(key)) setFilter(filter.slice(0, -1));
    else typed(characterOf(key));
  });
  const typed = (character: string) => {
    // Letters are commands until the user has begun a filter; `/` begins a filter with such a letter.
    if (!isTyping && filter === '') {
      if (character === '/') return setIsTyping(true);
      if (character === '?') return setIsHelp(!isHelp);
      if (character === 'q') return finish({ action: 'quit' });
      if (character === 'c' && chosen !== undefined) return finish({ action: 'code', name: chosen.name });
      if (character === 's' && chosen !== undefined) return finish({ action: 'start', name: chosen.name });
    }
    if (!/^[A-Za-z0-9._-]$/.test(character)) return;
    setFilter(filter + character);
    setActive(0);
  };
  const paint = painter();
  const lines = table(found);
  const page = usePagination({
    items: lines.slice(1),
    active: Math.max(0, Math.min(active, found.length - 1)),
    renderItem: ({ item, isActive }) => (isActive ? paint('bold', `> ${item}`) : `  ${item}`),
    pageSize,
    loop: false,
  });
  if (isDone) return '';
  const head = `${paint('bold', 'VM:')} ${filter}`;
  const list =
    found.length === 0 ? '  no VM has this in its name' : `  ${paint('dim', lines[0] ?? '')}\n${page}`;
  return [head, `${list}\n${paint('dim', isHelp ? helpText : keys)}`];
});

const helpText = `type letters to filter; / begins a filter with c, s or q
Enter  log in               c  open in VS Code (needs a Host block)
s      start the instance   Esc or q  quit`;

function characterOf(key: KeypressEvent): string {
  const { sequence } = key as KeypressEvent & { readonly sequence?: string };
  return sequence ?? key.name ?? '';
}

/** The first line is the head. */
function table(rows: readonly VmRow[]): string[] {
  const cells = rows.map(({ name, vm, address, lastUsed }) => [
    name,
    stateOf(vm),
    address ?? '-',
    lastUsed === undefined ? '-' : `${span(Date.now() - Date.parse(lastUsed))} ago`,
  ]);
  const maxWidth = (outputWidth() ?? 80) - 3;
  return columns(['NAME', 'STATE', 'ADDRESS', 'LAST LOGIN'], cells, { maxWidth, optional: [2] }).split('\n');
}

/** VS Code starts plain ssh, so it needs the VM's block. */
function openCode(row: VmRow | undefined): number {
  if (row === undefined) return 1;
  const name = printable(row.name);
  if (!row.hasBlock) {
    say(`VS Code uses plain ssh, and ${name} has no Host block`);
    hint(`mint-ssh ssh-config ${name}`);
    return 1;
  }
  const { error, status } = spawnSync('code', ['--remote', `ssh-remote+${row.name}`], { stdio: 'inherit' });
  if (error === undefined) return status ?? 1;
  say('cannot start `code`: VS Code, or its command in PATH, is not installed');
  print(`code --remote ssh-remote+${name}`);
  return 1;
}
