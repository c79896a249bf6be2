#!/bin/sh
# An askpass program that does what ASKPASS says: for its second run the word behind the comma.
# Leaves in the file ASKPASS_LOG, for each run, the hint it was given and the text.
says=$ASKPASS
[ ! -s "$ASKPASS_LOG" ] || says=${ASKPASS#*,}
says=${says%%,*}
printf '[hint: %s] [arguments: %s]\n%s\n' "${SSH_ASKPASS_PROMPT-none}" "$#" "$1" >>"$ASKPASS_LOG"
case $says in
  fail) exit 1 ;;
  fail-yes) echo yes; exit 1 ;;
  silent) exit 0 ;;
  newline) echo ;;
  hang) exec sleep 60 ;;
  hang-in-child) sleep 60; echo yes ;;
  stubborn) trap '' TERM; exec sleep 60 ;;
  flood) yes yes ;;
  killed) kill -9 $$ ;;
  *) echo "$says" ;;
esac
