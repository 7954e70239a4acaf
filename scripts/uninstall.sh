#!/bin/sh
# Takes the appliance off this machine, and names what it leaves.
#
#   scripts/uninstall.sh [--dry-run] [--state]
#
# --state also deletes /var/lib/appliance (models, keys, the log: `appliance wipe` does that with a certificate),
# /var/lib/appliance-software (the slots) and /etc/appliance.
set -eu

list=/usr/lib/appliance/installed-files
state="/var/lib/appliance /var/lib/appliance-software /var/lib/appliance-drop /var/log/appliance /etc/appliance"
dry_run=
with_state=

die() {
    echo "error: $1" >&2
    echo "next: $2" >&2
    exit "${3:-1}"
}

for argument; do
    case $argument in
        --dry-run) dry_run=yes ;;
        --state) with_state=yes ;;
        -h | --help) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 0 ;;
        *) die "unknown argument '$argument'" "$0 --help" 2 ;;
    esac
done

if command -v dpkg-query > /dev/null && dpkg-query --show appliance > /dev/null 2>&1; then
    die "the appliance is installed as a package on this machine" "apt remove appliance"
fi
[ -f "$list" ] || die "nothing is installed here: there is no $list" "scripts/install.sh"
if [ -n "$dry_run" ]; then
    sed 's/^/would remove /' "$list"
    echo "would remove /usr/lib/appliance/"
    said=left
    [ -z "$with_state" ] || said="would delete"
else
    [ "$(id -u)" = 0 ] || die "only root can take it out" "sudo $0"
    /usr/lib/appliance/host-setup remove
    while read -r path; do rm -f "$path"; done < "$list"
    rm -rf /usr/lib/appliance /usr/share/doc/appliance
    journalctl --update-catalog 2> /dev/null || true
    [ ! -d /run/systemd/system ] || systemctl daemon-reload
    # shellcheck disable=SC2086
    if [ -n "$with_state" ]; then rm -rf $state; fi
    said=left
fi
for path in $state; do
    [ ! -e "$path" ] || echo "$said: $path"
done
echo "left: the user and group 'appliance'"
