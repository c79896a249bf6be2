import { type ActionWord, type CommandWord, globalOptionWords, type OptionWord } from '../grammar.ts';

/** A completion function for zsh: `_mint-ssh` in a directory of its fpath, or sourced behind compinit. */
export function zshCompletion(commands: readonly CommandWord[]): string {
  return `#compdef mint-ssh
# zsh completion for mint-ssh; \`mint-ssh completion zsh\` prints it

_mint-ssh() {
  local curcontext="$curcontext" state
  local -a line globals
  typeset -A opt_args
  globals=(
${globalOptionWords().map(optionLine).join('\n')}
  )
  _arguments -C $globals '1: :->command' '*:: :->rest' && return
  case $state in
    command) _mint-ssh_words command ${commands.map(described).join(' ')} ;;
    rest)
      case $line[1] in
${commands.map(commandCase).join('\n')}
        *) _message 'nothing more' ;;
      esac
      ;;
  esac
}

_mint-ssh_words() {
  local -a words_with_text
  local tag=$1
  words_with_text=("\${@[2,-1]}")
  _describe -t $tag $tag words_with_text
}

_mint-ssh_vms() {
  local -a names
  names=(\${(f)"$(mint-ssh completion vms 2>/dev/null)"})
  compadd -X VM -a names
}

${commands
  .filter(({ actions }) => actions.length > 0)
  .map(actionFunctions)
  .join('\n')}
if [[ $funcstack[1] == _mint-ssh ]]; then
  _mint-ssh "$@"
else
  compdef _mint-ssh mint-ssh
fi
`;
}

function commandCase({ word, takesVm, options, actions }: CommandWord): string {
  const lines = ['$globals', ...options.map((option) => optionLine(option).trim())];
  if (actions.length > 0) lines.push(`'1: :_mint-ssh_${word}'`, `'2: :_mint-ssh_${word}_vm'`);
  else if (takesVm) lines.push("'1:VM:_mint-ssh_vms'");
  if (word === 'ssh') lines.push("'*:argument of ssh:_default'");
  return `        ${word}) _arguments ${lines.join(' ')} ;;`;
}

/** Whether the second word is a VM depends on the first. */
function actionFunctions({ word, takesVm, actions }: CommandWord): string {
  const behind = actions.filter((action) => action.takesVm).map((action) => action.word);
  const vm = behind.length === 0 ? ':' : `[[ $line[1] == (${behind.join('|')}) ]] && _mint-ssh_vms`;
  return `_mint-ssh_${word}() {
  _mint-ssh_words word ${actions.map(described).join(' ')}${takesVm ? '\n  _mint-ssh_vms' : ''}
}

_mint-ssh_${word}_vm() {
  ${vm}
}
`;
}

function optionLine({ long, short, value, description }: OptionWord): string {
  const text = `[${description.replaceAll(/[[\]:\\]/g, '\\$&')}]`;
  const action = { file: ':file:_files', directory: ':directory:_files -/', other: ':value: ' };
  const takes = value === undefined ? '' : action[value];
  if (short === undefined) return `    ${quoted(`--${long}${text}${takes}`)}`;
  return `    ${quoted(`(-${short} --${long})-${short}${text}${takes}`)} ${quoted(`(-${short} --${long})--${long}${text}${takes}`)}`;
}

function described({ word, description }: ActionWord): string {
  return quoted(`${word}:${description.replaceAll(/[:\\]/g, '\\$&')}`);
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
