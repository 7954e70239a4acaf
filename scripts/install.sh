#!/bin/sh
# Installs the appliance on this machine, without a network: from the directory that this script lies in.
#
#   scripts/install.sh [--dry-run]
#
# Such a directory is made by `scripts/build-deb --directory OUT` on a workstation, and carried here. Can be repeated; a
# newer one is tried beside what runs, which comes back if it fails. Debian 12 and 13, Ubuntu 24.04, JetPack 7.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$here/root
list=/usr/lib/appliance/installed-files
dry_run=

say() { echo "appliance: $*"; }

die() {
    echo "error: $1" >&2
    echo "next: $2" >&2
    exit "${3:-1}"
}

for argument; do
    case $argument in
        --dry-run) dry_run=yes ;;
        -h | --help) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 0 ;;
        *) die "unknown argument '$argument'" "$0 --help" 2 ;;
    esac
done

[ -f "$root/usr/lib/appliance/select.pyz" ] || die "$here holds no installation" "make one on a workstation: scripts/build-deb --directory OUT"
(cd "$root/usr/lib/appliance/rescue" && sha256sum --check --quiet FILES.sha256) \
    || die "the copy in $here is damaged" "copy it again"

if [ -n "$dry_run" ]; then
    (cd "$root" && find . -type f ! -path './usr/lib/appliance/rescue/*' | sed 's/^\./would write /')
    echo "would write /usr/lib/appliance/rescue/ ($(du -sh "$root/usr/lib/appliance/rescue" | cut -f1))"
    sh "$root/usr/lib/appliance/host-setup" plan
    exit 0
fi
[ "$(id -u)" = 0 ] || die "only root can install" "sudo sh $0"
if command -v dpkg-query > /dev/null && dpkg-query --show appliance > /dev/null 2>&1; then
    die "the appliance is installed as a package on this machine" "apt install ./appliance_VERSION.deb"
fi

say "copying"
rm -rf /usr/lib/appliance/rescue.old /usr/lib/appliance/rescue.new
mkdir -p /usr/lib/appliance
cp -r "$root/usr/lib/appliance/rescue" /usr/lib/appliance/rescue.new
[ ! -d /usr/lib/appliance/rescue ] || mv /usr/lib/appliance/rescue /usr/lib/appliance/rescue.old
mv /usr/lib/appliance/rescue.new /usr/lib/appliance/rescue
rm -rf /usr/lib/appliance/rescue.old
(cd "$root" && find . -type f ! -path './usr/lib/appliance/rescue/*') | sed 's/^\.//' | while read -r path; do
    if [ "$path" = /etc/appliance/appliance.toml ] && [ -e "$path" ]; then continue; fi
    mkdir -p "$(dirname "$path")"
    cp "$root$path" "$path.new"
    mv "$path.new" "$path"
done
(cd "$root" && find . -type f ! -path './usr/lib/appliance/rescue/*' ! -path './etc/*') | sed 's/^\.//' > "$list"
sync
/usr/lib/appliance/host-setup configure
