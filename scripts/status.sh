#!/bin/sh
# Says how this box is: whether it serves, who it is, which updates it has, whether its audit log is whole.
#
#   scripts/status.sh
#
# Changes nothing. Exit status: 0 all is well, 3 the service does not run, else that of the first check that failed.
set -u
here=$(dirname -- "$0")
# shellcheck source=scripts/console.sh
. "$here/console.sh"

case ${1:-} in
    '') ;;
    -h | --help) usage "$0"; exit 0 ;;
    *) wrong_usage "Unknown argument '$1'." ;;
esac

find_appliance
worst=0

# check TITLE SENTENCE COMMAND...: SENTENCE says what it means when the command fails.
check() {
    title=$1 sentence=$2
    shift 2
    printf '\n== %s\n' "$title"
    "$appliance" "$@" </dev/null 2>&1
    status=$?
    [ "$status" -ne 0 ] || return 0
    printf '%s (status %s)\n' "$sentence" "$status"
    [ "$worst" -ne 0 ] || worst=$status
}

echo "$(hostname), $(date -u '+%Y-%m-%d %H:%M:%S UTC') by the clock of this box"
check "Service" "The service does not answer as it should." status
check "Updates" "The state of updates cannot be read." update status
check "Audit log" "The audit log is not whole: report that." audit verify
echo
if [ "$worst" -eq 0 ]; then
    echo "All is well."
else
    echo "Something needs attention; see above. To report it: appliance support-bundle"
fi
exit "$worst"
