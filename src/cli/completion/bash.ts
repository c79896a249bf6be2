import { type CommandWord, globalOptionWords, type OptionWord } from '../grammar.ts';

/**
 * A completion script for bash, from 3.2 (macOS) on. What it asks for at run time, the names of the VMs, is
 * compared and never expanded.
 */
export function bashCompletion(commands: readonly CommandWord[]): string {
  const all = [...globalOptionWords(), ...commands.flatMap(({ options }) => options)];
  return `# bash completion for mint-ssh; \`mint-ssh completion bash\` prints it

_mint_ssh() {
  local current="\${COMP_WORDS[COMP_CWORD]}" before="\${COMP_WORDS[COMP_CWORD-1]}"
  local command='' action='' count=0 at
  for ((at = 1; at < COMP_CWORD; at++)); do
    case "\${COMP_WORDS[at]}" in
      --) compopt -o default 2>/dev/null; return ;;
      ${forms(all.filter(({ value }) => value !== undefined)).join('|')}) ((at++)) ;;
      -*) ;;
      *)
        ((count++))
        ((count == 1)) && command="\${COMP_WORDS[at]}"
        ((count == 2)) && action="\${COMP_WORDS[at]}"
        ;;
    esac
  done
  COMPREPLY=()
  case "$before" in
${valueCases(all)}
  esac
  local words=''
  if [[ $current == -* ]]; then
    words='${plain(globalOptionWords())}'
    case "$command" in
${commands
  .filter(({ options }) => options.length > 0)
  .map(({ word, options }) => `      ${word}) words+=' ${plain(options)}' ;;`)
  .join('\n')}
    esac
  elif ((count == 0)); then
    words='${commands.map(({ word }) => word).join(' ')}'
  else
    case "$count $command $action" in
${commands.flatMap(commandCases).join('\n')}
    esac
  fi
  COMPREPLY+=($(compgen -W "$words" -- "$current"))
}

_mint_ssh_vms() {
  local name
  while IFS= read -r name; do
    [[ $name == "$current"* ]] && COMPREPLY+=("$name")
  done < <(mint-ssh completion vms 2>/dev/null)
}

complete -F _mint_ssh mint-ssh
`;
}

function commandCases({ word, takesVm, actions }: CommandWord): string[] {
  const cases: string[] = [];
  const words = actions.map((action) => action.word);
  const does = [
    ...(words.length > 0 ? [`words='${words.join(' ')}'`] : []),
    ...(takesVm ? ['_mint_ssh_vms'] : []),
  ];
  if (does.length > 0) cases.push(`      '1 ${word} ') ${does.join('; ')} ;;`);
  const behind = actions.filter((action) => action.takesVm).map((action) => `'2 ${word} ${action.word}'`);
  if (behind.length > 0) cases.push(`      ${behind.join('|')}) _mint_ssh_vms ;;`);
  return cases;
}

/** With files and directories bash itself knows best; an older one completes nothing there. */
function valueCases(options: readonly OptionWord[]): string {
  const kinds = { file: 'default', directory: 'dirnames', other: undefined };
  return Object.entries(kinds)
    .map(([kind, how]) => [forms(options.filter(({ value }) => value === kind)), how] as const)
    .filter(([words]) => words.length > 0)
    .map(([words, how]) => {
      const action = how === undefined ? 'return' : `compopt -o ${how} 2>/dev/null; return`;
      return `    ${words.join('|')}) ${action} ;;`;
    })
    .join('\n');
}

function plain(options: readonly OptionWord[]): string {
  return options.map(({ long }) => `--${long}`).join(' ');
}

function forms(options: readonly OptionWord[]): string[] {
  const words = options.flatMap(({ long, short }) => [
    `--${long}`,
    ...(short === undefined ? [] : [`-${short}`]),
  ]);
  return [...new Set(words)];
}
