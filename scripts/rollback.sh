#!/bin/sh
# Takes the last update back: what served before it serves again. No stick is needed.
#
#   scripts/rollback.sh          shows the updates of this box, asks, takes the last one back
#   scripts/rollback.sh --yes    asks nothing
#
# Exit status: that of `appliance update rollback` (scripts/CARD.md lists them); 0 also if you answer no.
set -u
here=$(dirname -- "$0")
# shellcheck source=scripts/console.sh
. "$here/console.sh"

assume_yes=
while [ $# -gt 0 ]; do
    case $1 in
        --yes) assume_yes=yes ;;
        -h | --help) usage "$0"; exit 0 ;;
        *) wrong_usage "Unknown argument '$1'." ;;
    esac
    shift
done

find_appliance
"$appliance" update status || exit $?
if ! ask "Take the last update that is CONFIRMED back?"; then
    say "Nothing was changed on this box."
    exit 0
fi
"$appliance" update rollback
status=$?
if [ "$status" -eq 0 ]; then
    say "The update was taken back. The same stick installs it again with: scripts/update.sh --retry"
else
    say "The update was not taken back, status $status."
fi
exit "$status"
