import { type CommandWord, globalOptionWords, type OptionWord } from '../grammar.ts';

/**
 * A completion script for bash, from 3.2 (macOS) on. The names that it asks for at run time, such as those of the VMs,
 * are compared and never expanded.
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
  case "$command $before" in
${[...commands.flatMap(({ word, options }) => valueCases(options, word)), ...valueCases(globalOptionWords())].join('\n')}
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

_mint_ssh_names() {
  local name
  while IFS= read -r name; do
    [[ $name == "$current"* ]] && COMPREPLY+=("$name")
  done < <(mint-ssh completion "$1" 2>/dev/null)
}

complete -F _mint_ssh mint-ssh
`;
}

function commandCases({ word, takes, actions }: CommandWord): string[] {
  const words = actions.map((action) => action.word);
  const first = [
    ...(words.length > 0 ? [`words='${words.join(' ')}'`] : []),
    ...(takes[0] === undefined ? [] : [`_mint_ssh_names ${takes[0]}`]),
  ];
  const arguments_ = actions.flatMap((action) =>
    action.takes.flatMap((kind, at) =>
      kind === undefined ? [] : [`      '${at + 2} ${word} ${action.word}') _mint_ssh_names ${kind} ;;`],
    ),
  );
  return [...(first.length > 0 ? [`      '1 ${word} ') ${first.join('; ')} ;;`] : []), ...arguments_];
}

/**
 * What completes the values of options. With files and directories bash itself knows best; an older one completes nothing
 * there.
 * @param command undefined for the options of every command
 */
function valueCases(options: readonly OptionWord[], command?: string): string[] {
  return options.flatMap((option) => {
    if (option.value === undefined) return [];
    const patterns = forms([option]).map((form) =>
      command === undefined ? `*' ${form}'` : `'${command} ${form}'`,
    );
    return [`    ${patterns.join('|')}) ${valueAction(option)}; return ;;`];
  });
}

function valueAction({ value, values }: OptionWord): string {
  if (typeof values === 'string') return `_mint_ssh_names ${values}`;
  if (values !== undefined) return `COMPREPLY=($(compgen -W '${values.join(' ')}' -- "$current"))`;
  if (value === 'other') return ':';
  return `compopt -o ${value === 'file' ? 'default' : 'dirnames'} 2>/dev/null`;
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
