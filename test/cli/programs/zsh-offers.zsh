# Prints what zsh lists for a line: completion runs in the line editor alone, so a zsh on a terminal of its own
# is given the line. $1: the completion script; $2: the line
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell "stty cols 200 rows 100; autoload -Uz compinit; compinit -u -D; source $1"
zpty -w shell "bindkey '^X' list-choices; cd /; print ready"
while zpty -r shell piece; do [[ $piece == ready* ]] && break; done
zpty -n -w shell "$2"$'\x18'
said=''
# The list ends with the prompt and the line once more.
repeat 80; do
  sleep 0.1
  while zpty -r -t shell piece; do said+=$piece; done
  [[ $said == *$'\r\n'*$'\r\n'*"$2" ]] && break
done
print -r -- "$said"
zpty -d shell
