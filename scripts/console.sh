# shellcheck shell=sh
# What the technician's scripts share: sentences, questions, the appliance program, the stick. Read with `.`.
#
# Plain ASCII without colours, for serial consoles. Results on standard output, the story on standard error.

say() { printf '%s\n' "$*" >&2; }

# fail STATUS FACT NEXT-STEP
fail() {
    say "$2"
    [ -z "${3:-}" ] || say "Next: $3"
    exit "$1"
}

# usage FILE: print the comment at the head of a script.
usage() { sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$1"; }

# wrong_usage FACT: the command line cannot be meant.
wrong_usage() { fail 2 "$1" "$0 --help"; }

# need_value OPTION COUNT: an option that stands last has no value.
need_value() { [ "$2" -ge 2 ] || wrong_usage "$1 needs a value."; }

# Set `appliance` to the program: the installed one, or that of a checkout's environment. `here` is the folder of the scripts.
find_appliance() {
    appliance=$(command -v appliance) && return
    appliance=${here:?}/../.venv/bin/appliance
    [ -x "$appliance" ] || fail 1 "The program 'appliance' is not installed here." "install it, or add its folder to PATH"
}

# ask QUESTION: yes or no; no if nobody answers. Needs --yes (`assume_yes`) where there is no terminal.
ask() {
    [ -z "$assume_yes" ] || return 0
    [ -t 0 ] || fail 2 "Nobody can be asked: standard input is no terminal." "$0 --yes"
    while :; do
        printf '%s [y/N] ' "$1" >&2
        read -r answer || { say ""; return 1; }
        case $answer in
            y | Y | yes | Yes | YES) return 0 ;;
            n | N | no | No | NO | '') return 1 ;;
            *) say "Please answer y or n." ;;
        esac
    done
}

# fact NAME FILE: the value of a line "NAME   VALUE" that the appliance printed.
fact() { sed -n "s/^$1  *//p" "$2" | head -n 1; }
