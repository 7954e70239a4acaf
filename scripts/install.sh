#!/bin/sh
# Installs the appliance on this machine, without a network.
#
#   scripts/install.sh [--dry-run]                                     from the directory that this script lies in
#   scripts/install.sh MEDIUM --root-fingerprint SHA256 [--dry-run]    from a stick with signed software
#   scripts/install.sh MEDIUM --root FILE [--dry-run]                  the same; FILE: the owner's root.json
#
# A directory is made by `scripts/build-deb --directory OUT` on a workstation; for a stick `scripts/build-installer OUT`
# makes this script and what checks signatures. A bare box knows nobody: you say by the fingerprint whose software it
# shall take, and compare `sha256sum install.sh` before you run it. Can be repeated; newer software is tried beside what
# runs, which comes back if it fails. Debian 12 and 13, Ubuntu 24.04, JetPack 7.
#
# --bundle NAME: which bundle, if the stick holds several. --variant cpu | gpu: which software, if it brings both.
set -eu
umask 022 # the service has to read what root writes here

here=$(cd "$(dirname "$0")" && pwd)
root=$here/root
list=/usr/lib/appliance/installed-files
bootstrap_sha256='unset'
owner=/etc/appliance/owner.json
dry_run=
medium=

say() { echo "appliance: $*"; }

die() {
    echo "error: $1" >&2
    echo "next: $2" >&2
    exit "${3:-1}"
}

usage() { sed -n '2,13s/^# \{0,1\}//p' "$0"; }

# What checks a stick, copied to a directory of ours first: this script vouches for it, and nothing else is run.
take_bootstrap() { # DIRECTORY
    [ -f "$here/bootstrap.pyz" ] || die "$here has no bootstrap.pyz, which checks signatures" \
        "make both on a workstation: scripts/build-installer OUT"
    cp "$here/bootstrap.pyz" "$1"
    echo "$bootstrap_sha256  $1/bootstrap.pyz" | sha256sum --check --status 2> /dev/null \
        || die "$here/bootstrap.pyz is not the one that this script was made with" "copy both again"
    /usr/bin/python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null \
        || die "/usr/bin/python3 is missing, or older than 3.11" "install on Debian 12 or 13, Ubuntu 24.04 or JetPack 7"
}

# Everything on the stick is checked and laid out in a directory of our own before anything of it is used.
take_from_medium() { # ARGUMENTS of bootstrap.pyz
    [ ! -e /var/lib/appliance/device/identity.json ] || die "this box has an owner: it checks what it takes itself" \
        "appliance update apply $medium"
    work=$(mktemp -d /var/tmp/appliance-install.XXXXXX)
    trap 'rm -rf "$work"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    take_bootstrap "$work"
    status=0
    /usr/bin/python3 -I "$work/bootstrap.pyz" --out "$work" "$@" || status=$?
    [ "$status" = 0 ] || { echo "appliance: nothing was changed on this box" >&2; exit "$status"; }
    root=$work/root
}

for argument; do
    shift
    case $argument in
        --dry-run) dry_run=yes ;;
        -h | --help) usage; exit 0 ;;
        --root-fingerprint | --root | --bundle | --variant) set -- "$@" "$argument" ;;
        --root-fingerprint=* | --root=* | --bundle=* | --variant=*) set -- "$@" "$argument" ;;
        -*) die "unknown argument '$argument'" "$0 --help" 2 ;;
        *) set -- "$@" "$argument" ;;
    esac
done
if [ $# != 0 ]; then
    medium=$1
    case $medium in
        -*) die "a stick has to be named first" "$0 MEDIUM --root-fingerprint SHA256" 2 ;;
        *) ;;
    esac
    [ -d "$medium" ] || die "'$medium' is no directory where a stick is mounted" "$0 --help" 2
    take_from_medium "$@"
fi

[ -f "$root/usr/lib/appliance/select.pyz" ] || die "$here holds no installation, and no stick was named" \
    "name it: $0 MEDIUM --root-fingerprint SHA256; or make a directory: scripts/build-deb --directory OUT"
(cd "$root/usr/lib/appliance/rescue" && sha256sum --check --quiet FILES.sha256) \
    || die "the copy in $here is damaged" "copy it again"

if [ -n "$dry_run" ]; then
    (cd "$root" && find . -type f ! -path './usr/lib/appliance/rescue/*' | sed 's/^\./would write /')
    echo "would write /usr/lib/appliance/rescue/ ($(du -sh "$root/usr/lib/appliance/rescue" | cut -f1))"
    sh "$root/usr/lib/appliance/host-setup" plan
    exit 0
fi
[ "$(id -u)" = 0 ] || die "only root can install" "sudo sh $0 $*"
if command -v dpkg-query > /dev/null && dpkg-query --show appliance > /dev/null 2>&1; then
    die "the appliance is installed as a package on this machine" "apt install ./appliance_VERSION.deb"
fi

say "copying"
rm -rf /usr/lib/appliance/rescue.old /usr/lib/appliance/rescue.new
mkdir -p /usr/lib/appliance
cp -r "$root/usr/lib/appliance/rescue" /usr/lib/appliance/rescue.new
chmod -R u=rwX,go=rX /usr/lib/appliance/rescue.new # a medium may know no modes
[ ! -d /usr/lib/appliance/rescue ] || mv /usr/lib/appliance/rescue /usr/lib/appliance/rescue.old
mv /usr/lib/appliance/rescue.new /usr/lib/appliance/rescue
rm -rf /usr/lib/appliance/rescue.old
(cd "$root" && find . -type f ! -path './usr/lib/appliance/rescue/*') | sed 's/^\.//' | while read -r path; do
    if [ "$path" = /etc/appliance/appliance.toml ] && [ -e "$path" ]; then continue; fi
    mkdir -p "$(dirname "$path")"
    cp "$root$path" "$path.new"
    if [ "$(head -c 2 "$path.new")" = '#!' ]; then chmod 755 "$path.new"; else chmod 644 "$path.new"; fi
    mv "$path.new" "$path"
done
(cd "$root" && find . -type f ! -path './usr/lib/appliance/rescue/*' ! -path './etc/*') | sed 's/^\.//' > "$list"
sync
/usr/lib/appliance/host-setup configure
if [ -n "$medium" ]; then
    say "the owner's root of trust is $owner; next, give this box its owner and its name:"
    say "systemctl stop appliance && appliance provision --root $owner --serial SERIAL --hardware NAME --site SITE"
fi
