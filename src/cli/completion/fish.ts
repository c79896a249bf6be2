import { type CommandWord, globalOptionWords, type NameKind, type OptionWord } from '../grammar.ts';

/** Completions for fish, from 3.0 on. */
export function fishCompletion(commands: readonly CommandWord[]): string {
  const all = [...globalOptionWords(), ...commands.flatMap(({ options }) => options)];
  const valued = all.filter(({ value }) => value !== undefined).flatMap(forms);
  return `# fish completions for mint-ssh; \`mint-ssh completion fish\` prints them

# The words typed so far that are neither options nor their values.
function __mint_ssh_words
    set -l words (commandline -opc)
    set -e words[1]
    set -l skip no
    for word in $words
        if test $skip = yes
            set skip no
        else if contains -- $word ${[...new Set(valued)].join(' ')}
            set skip yes
        else if not string match -q -- '-*' $word
            echo $word
        end
    end
end

function __mint_ssh_at
    test (string join ' ' (__mint_ssh_words) '') = (string join ' ' $argv '')
end

# Whether the words are these, and behind them as many more as the first argument says.
function __mint_ssh_behind
    set -l words (__mint_ssh_words)
    set -l wanted $argv[2..-1]
    test (count $words) -eq (math $argv[1] + (count $wanted)); and test "$words[1..2]" = "$wanted"
end

function __mint_ssh_in
    set -l words (__mint_ssh_words)
    test (count $words) -gt 0; and test $words[1] = $argv[1]
end

complete -c mint-ssh -f
${globalOptionWords()
  .map((option) => optionLine(option, ''))
  .join('\n')}

${commands.map(commandLines).join('\n\n')}
`;
}

function commandLines({ word, description, takes, options, actions }: CommandWord): string {
  const lines = [`complete -c mint-ssh -n __mint_ssh_at -a ${word} -d ${quoted(description)}`];
  lines.push(...options.map((option) => optionLine(option, ` -n '__mint_ssh_in ${word}'`)));
  if (takes[0] !== undefined) lines.push(names(`__mint_ssh_at ${word}`, takes[0]));
  for (const action of actions) {
    const condition = ` -n '__mint_ssh_at ${word}'`;
    lines.push(`complete -c mint-ssh${condition} -a ${action.word} -d ${quoted(action.description)}`);
    for (const [at, kind] of action.takes.entries()) {
      if (kind !== undefined) lines.push(names(`__mint_ssh_behind ${at} ${word} ${action.word}`, kind));
    }
  }
  return lines.join('\n');
}

function names(condition: string, kind: NameKind): string {
  return `complete -c mint-ssh -n '${condition}' -a '(mint-ssh completion ${kind} 2>/dev/null)' -d ${kind}`;
}

function optionLine({ long, short, value, values, description }: OptionWord, condition: string): string {
  const takes = { file: ' -r -F', directory: " -x -a '(__fish_complete_directories)'", other: ' -x' };
  const form = short === undefined ? `-l ${long}` : `-s ${short} -l ${long}`;
  const words =
    typeof values === 'string' ? `(mint-ssh completion ${values} 2>/dev/null)` : values?.join(' ');
  const argument = value === undefined ? '' : words === undefined ? takes[value] : ` -x -a '${words}'`;
  return `complete -c mint-ssh${condition} ${form}${argument} -d ${quoted(description)}`;
}

function forms({ long, short }: OptionWord): string[] {
  return [`--${long}`, ...(short === undefined ? [] : [`-${short}`])];
}

/** Inside single quotes fish knows two escapes. */
function quoted(text: string): string {
  return `'${text.replaceAll(/['\\]/g, '\\$&')}'`;
}
