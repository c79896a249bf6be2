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

_mint-ssh_names() {
  local -a names
  names=(\${(f)"$(mint-ssh completion $1 2>/dev/null)"})
  compadd -a names
}
_mint-ssh_vms() { _mint-ssh_names vms }
_mint-ssh_keys() { _mint-ssh_names keys }
_mint-ssh_profiles() { _mint-ssh_names profiles }
_mint-ssh_regions() { _mint-ssh_names regions }

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

function commandCase({ word, takes, options, actions }: CommandWord): string {
  const lines = ['$globals', ...options.map((option) => optionLine(option).trim())];
  if (actions.length > 0) {
    lines.push(`'1: :_mint-ssh_${word}'`, `'2: :_mint-ssh_${word}_2'`, `'3: :_mint-ssh_${word}_3'`);
  } else if (takes[0] !== undefined) lines.push(`'1:name:_mint-ssh_${takes[0]}'`);
  if (word === 'ssh') lines.push("'*:argument of ssh:_default'");
  return `        ${word}) _arguments ${lines.join(' ')} ;;`;
}

/** What the second and the third word are depends on the first. */
function actionFunctions({ word, actions }: CommandWord): string {
  const argument = (at: number) => {
    const cases = actions.flatMap((action) => {
      const kind = action.takes[at];
      return kind === undefined ? [] : [`    ${action.word}) _mint-ssh_${kind} ;;`];
    });
    return `_mint-ssh_${word}_${at + 2}() {\n  case $line[1] in\n${[...cases, '    *) ;;'].join('\n')}\n  esac\n}`;
  };
  return `_mint-ssh_${word}() {
  _mint-ssh_words word ${actions.map(described).join(' ')}
}

${argument(0)}

${argument(1)}
`;
}

function optionLine({ long, short, value, values, description }: OptionWord): string {
  const text = `[${description.replaceAll(/[[\]:\\]/g, '\\$&')}]`;
  const action = { file: ':file:_files', directory: ':directory:_files -/', other: ':value: ' };
  const named = typeof values === 'string' ? `:name:_mint-ssh_${values}` : `:value:(${values?.join(' ')})`;
  const takes = value === undefined ? '' : values === undefined ? action[value] : named;
  if (short === undefined) return `    ${quoted(`--${long}${text}${takes}`)}`;
  return `    ${quoted(`(-${short} --${long})-${short}${text}${takes}`)} ${quoted(`(-${short} --${long})--${long}${text}${takes}`)}`;
}

function described({ word, description }: ActionWord): string {
  return quoted(`${word}:${description.replaceAll(/[:\\]/g, '\\$&')}`);
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
