/** The list in which the user marks VMs, for `mint-ssh setup`. */
import {
  createPrompt,
  isDownKey,
  isEnterKey,
  isSpaceKey,
  isUpKey,
  useKeypress,
  usePagination,
  useState,
} from '@inquirer/core';
import { painter } from '../cli/colour.ts';
import { columns, outputWidth } from '../cli/columns.ts';
import { Interrupted } from '../errors.ts';
import type { LocatedVm } from '../vms/located-vm.ts';

const pageSize = 12;
const keys = 'Space marks · a marks all · Enter continues · Ctrl-C cancels';

/** @returns the marked VMs, possibly none; Ctrl-C exits with status 130 */
export async function pickSeveral(vms: readonly LocatedVm[]): Promise<readonly LocatedVm[]> {
  try {
    return await prompt({
      vms: vms.toSorted((one, other) => rank(one) - rank(other) || one.name.localeCompare(other.name)),
    });
  } catch (error) {
    if (error instanceof Error && error.name === 'ExitPromptError') throw new Interrupted();
    throw error;
  }
}

/** Sorts running VMs with a name first. */
function rank({ name, instance, state }: LocatedVm): number {
  return (name === instance ? 2 : 0) + (state === 'running' ? 0 : 1);
}

const prompt = createPrompt<readonly LocatedVm[], { readonly vms: readonly LocatedVm[] }>(({ vms }, done) => {
  const [active, setActive] = useState(0);
  const [marked, setMarked] = useState<ReadonlySet<LocatedVm>>(new Set());
  const [isDone, setIsDone] = useState(false);
  useKeypress((key, readline) => {
    readline.clearLine(0);
    const current = vms[active];
    if (isEnterKey(key)) {
      setIsDone(true);
      done(vms.filter((vm) => marked.has(vm)));
    } else if (isUpKey(key)) setActive(Math.max(0, active - 1));
    else if (isDownKey(key)) setActive(Math.min(vms.length - 1, active + 1));
    else if (isSpaceKey(key) && current !== undefined) {
      setMarked(
        new Set(marked.has(current) ? [...marked].filter((vm) => vm !== current) : [...marked, current]),
      );
    } else if (key.name === 'a') setMarked(new Set(marked.size === vms.length ? [] : vms));
  });
  const paint = painter();
  const cells = vms.map(({ name, state, publicAddress, privateAddress, user }) => [
    name,
    state,
    publicAddress ?? privateAddress ?? '-',
    user ?? '-',
  ]);
  const maxWidth = (outputWidth() ?? 80) - 7;
  const [head = '', ...lines] = columns(['NAME', 'STATE', 'ADDRESS', 'USER'], cells, { maxWidth }).split(
    '\n',
  );
  const page = usePagination({
    items: vms.map((vm, at) => ({ vm, line: lines[at] ?? '' })),
    active,
    renderItem: ({ item: { vm, line }, isActive }) => {
      const row = `${isActive ? '>' : ' '} [${marked.has(vm) ? 'x' : ' '}] ${line}`;
      return isActive ? paint('bold', row) : row;
    },
    pageSize,
    loop: false,
  });
  if (isDone) return '';
  return [paint('bold', 'Which VMs?'), `      ${paint('dim', head)}\n${page}\n${paint('dim', keys)}`];
});
