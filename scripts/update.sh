#!/bin/sh
# Installs the update on a stick: finds it, mounts it read-only, says what it holds, asks, installs, prints a receipt.
#
#   scripts/update.sh                    the stick that has the label APPLIANCE-UPDATE (FAT: APPLIANCE)
#   scripts/update.sh --label LABEL      another label
#   scripts/update.sh --device /dev/sdb1 this stick
#   scripts/update.sh --directory DIR    a folder that holds the bundle; nothing is mounted
#
#   --yes             ask nothing: install if the check says yes, no receipt on the stick unless --receipt
#   --receipt         write a signed receipt to the stick; --no-receipt: do not, and do not ask
#   --bundle NAME     which bundle, if the stick holds several
#   --retry           install an update that did not come up on this box before, or was taken back
#   --allow-expired   take an update whose time is over, as far as its owner permits; at the box's own console only
#
# Whatever goes wrong, what serves goes on serving. Exit status: that of `appliance update` (scripts/CARD.md lists
# them); 0 also if you answer no.
set -u
here=$(dirname -- "$0")
# shellcheck source=scripts/console.sh
. "$here/console.sh"
# shellcheck source=scripts/stick.sh
. "$here/stick.sh"

assume_yes='' receipt=ask wanted_label='' device='' place='' bundle='' command=apply allow_expired=''
while [ $# -gt 0 ]; do
    case $1 in
        --yes) assume_yes=yes ;;
        --receipt) receipt=yes ;;
        --no-receipt) receipt=no ;;
        --retry) command=retry ;;
        --allow-expired) allow_expired=yes ;;
        --label) need_value "$1" $#; wanted_label=$2; shift ;;
        --device) need_value "$1" $#; device=$2; shift ;;
        --directory) need_value "$1" $#; place=$2; shift ;;
        --bundle) need_value "$1" $#; bundle=$2; shift ;;
        -h | --help) usage "$0"; exit 0 ;;
        *) wrong_usage "Unknown argument '$1'." ;;
    esac
    shift
done

work=
# shellcheck disable=SC2317,SC2329  # the trap calls it
leave() {
    put_stick_away
    [ -z "$work" ] || rm -rf -- "$work"
}
trap leave EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# answer_of COMMAND...: run the appliance; what it answers is kept for the receipt and shown.
answer_of() {
    "$appliance" update "$@" >"$work/answer"
    status=$?
    cat "$work/answer"
    return "$status"
}

# goes_on STATUS: whether a check that said no leaves something to do.
goes_on() {
    case $command$allow_expired:$1 in
        *:0) ask "Install it now?" ;;
        *:10) ask "It is installed. Look for damaged content, and repair it from the stick?" ;;
        retry*:32) ask "Try it once more?" ;;
        *yes:24 | *yes:25) ask "Install it although its time is over?" ;;
        *) return 1 ;;
    esac
}

print_receipt() {
    "$appliance" update status >"$work/status" 2>/dev/null || :
    echo "------------------------------- receipt -------------------------------"
    printf '%-10s %s\n' time "$(date -u '+%Y-%m-%d %H:%M:%S UTC by the clock of this box')"
    printf '%-10s %s\n' box "$(fact serial "$work/status"), $(fact hardware "$work/status"), $(fact site "$work/status")"
    cat "$work/answer"
    if [ "$1" -eq 0 ]; then
        printf '%-10s %s\n' result "done"
    else
        printf '%-10s %s\n' result "not installed, status $1: what served before goes on serving"
    fi
    echo "-----------------------------------------------------------------------"
}

find_appliance
work=$(mktemp -d) || fail 1 "No temporary folder could be made." "df /tmp"
if [ -n "$place" ]; then
    [ -d "$place" ] || fail 28 "There is no folder $place." "$0 --directory DIR"
else
    [ -n "$device" ] || find_stick
    mount_stick
fi

say "Checking whether this update is for this box ..."
set -- "$place"
[ -z "$bundle" ] || set -- "$@" --bundle "$bundle"
answer_of inspect "$@"
checked=$?
if ! goes_on "$checked"; then
    say "Nothing was changed on this box."
    exit "$checked"
fi

if [ "$receipt" = ask ] && [ -n "$mounted_by_us" ] && [ -z "$assume_yes" ]; then
    ask "Write a signed receipt to the stick? It is writable then while the update runs." && receipt=yes
fi
[ "$receipt" != yes ] || allow_receipt || :

say "Do not switch the box off and leave the stick in. If the power fails all the same, start again: nothing is lost."
[ -z "$allow_expired" ] || set -- "$@" --allow-expired
[ "$receipt" != no ] || set -- "$@" --no-receipt
answer_of "$command" "$@"
done=$?
print_receipt "$done"
exit "$done"
