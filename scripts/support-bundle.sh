#!/bin/sh
# Packs what support needs to know about this box into one file. Nothing is sent anywhere.
#
#   scripts/support-bundle.sh            writes the file here
#   scripts/support-bundle.sh --to DIR   writes it to DIR, for example a stick
#
# In it: versions, hardware, disks, models, updates, audit log, journal. Not in it: keys, model files, requests and
# answers. Each part is a text file to read before you hand it on: tar xzf FILE. Exit status: 0 if the file was written.
set -u
umask 077
here=$(dirname -- "$0")
# shellcheck source=scripts/console.sh
. "$here/console.sh"

target=.
while [ $# -gt 0 ]; do
    case $1 in
        --to) need_value "$1" $#; target=$2; shift ;;
        -h | --help) usage "$0"; exit 0 ;;
        *) wrong_usage "Unknown argument '$1'." ;;
    esac
    shift
done

work=''
partial=''
# shellcheck disable=SC2317,SC2329  # the trap calls it
leave() {
    [ -z "$work" ] || rm -rf -- "$work"
    [ -z "$partial" ] || rm -f -- "$partial"
}
trap leave EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# part NAME COMMAND...: what a command says and how it ended. One that fails or hangs is worth knowing too.
part() {
    name=$1
    shift
    command -v "$1" >/dev/null 2>&1 || return 0
    {
        printf '$ %s\n' "$*"
        timeout 60 "$@" </dev/null 2>&1
        printf '\nexit status %s\n' "$?"
    } >"$folder/$name.txt"
}

find_appliance
{ [ -d "$target" ] && [ -w "$target" ]; } || fail 1 "The folder $target cannot be written to." "$0 --to DIR"
work=$(mktemp -d) || fail 1 "No temporary folder could be made." "df /tmp"

"$appliance" update status >"$work/status" 2>/dev/null </dev/null || :
serial=$(fact serial "$work/status" | tr -c 'A-Za-z0-9._\n-' _)
file=appliance-support-${serial:-unknown}-$(date -u +%Y%m%dT%H%M%SZ)
folder=$work/$file
mkdir "$folder"

say "Collecting; this takes up to some minutes ..."
part version "$appliance" --version
part status "$appliance" status --json
part doctor "$appliance" doctor
part models "$appliance" models list
part models-verify "$appliance" models verify
part backends "$appliance" backends probe
part engines "$appliance" engines list
part update-status "$appliance" update status --json
part audit-verify "$appliance" audit verify
part audit "$appliance" audit show --last 1000
part metrics "$appliance" metrics
part journal journalctl --unit appliance --no-pager --lines 5000
part kernel dmesg --level err,warn
part system uname -a
part release cat /etc/os-release
part processor lscpu
part memory free -m
part disks df -h
part devices lsblk -f
part clock timedatectl status
part gpu nvidia-smi

partial=$target/.$file.tmp
tar -C "$work" -czf "$partial" "$file" || fail 1 "The file could not be written to $target." "df $target"
sync "$partial" 2>/dev/null || sync
mv -- "$partial" "$target/$file.tar.gz" || fail 1 "The file could not be written to $target." "df $target"
partial=''
sync "$target" 2>/dev/null || sync
say "Written. Nothing was sent anywhere. Look at what is in it before you hand it on: tar tzf $file.tar.gz"
printf '%s\n' "$target/$file.tar.gz"
