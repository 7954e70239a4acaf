# shellcheck shell=sh
# Finds the update stick and mounts it read-only; puts it away in every case. Read with `.` after console.sh.
#
# Sets `place`, where the stick is mounted. What was mounted before stays mounted.

mounted_by_us=
mount_point=

# The labels that are looked for. FAT has room for 11 characters, so that sticks with FAT have the short one.
usual_labels="APPLIANCE-UPDATE APPLIANCE"

# devices_labelled LABEL: print every block device whose file system has this label. Without blkid's cache, which for
# a moment still knows the stick that was in the same socket before.
devices_labelled() {
    {
        [ ! -e "/dev/disk/by-label/$1" ] || readlink -f "/dev/disk/by-label/$1"
        blkid -c /dev/null -t "LABEL=$1" -o device 2>/dev/null || :
    } | sort -u
}

# find_stick: set `device` by the label that was asked for, or by the usual ones.
find_stick() {
    for label in ${wanted_label:-$usual_labels}; do
        found=$(devices_labelled "$label")
        [ -z "$found" ] || break
    done
    [ -n "$found" ] || [ "$(id -u)" -eq 0 ] || fail 1 "Only root may look for the stick." "sudo $0"
    [ -n "$found" ] || fail 28 "No stick with the label $(printf '%s' "${wanted_label:-$usual_labels}" | sed 's/ / or /') is plugged in." \
        "plug it in and wait a few seconds; or name it: $0 --device /dev/sdX1 (lsblk -f lists what there is)"
    [ "$(printf '%s\n' "$found" | wc -l)" -eq 1 ] || fail 36 \
        "Several sticks with the label $label are plugged in: $(printf '%s' "$found" | tr '\n' ' ')" \
        "take out all but one, or name it: $0 --device $(printf '%s\n' "$found" | head -n 1)"
    device=$found
}

# mounted_at DEVICE: print where a device is mounted already.
mounted_at() {
    printf '%b\n' "$(awk -v device="$(readlink -f "$1")" '$1 == device { gsub(/\\/, "\\0"); print $2; exit }' /proc/self/mounts)"
}

# mount_stick: mount `device` read-only; nothing on it can act.
mount_stick() {
    [ -b "$device" ] || fail 35 "$device is no disk or stick." "lsblk -f lists what there is"
    place=$(mounted_at "$device")
    if [ -n "$place" ]; then
        say "The stick $device is mounted at $place already; it stays mounted there."
        return
    fi
    [ "$(id -u)" -eq 0 ] || fail 1 "Only root may mount the stick." "sudo $0, or mount it yourself and name the folder: $0 --directory DIR"
    parent=/run
    [ -w "$parent" ] || parent=/tmp
    mount_point=$(mktemp -d "$parent/appliance-stick.XXXXXX") || fail 1 "No folder for the stick could be made in $parent." "df $parent"
    if ! mount -o "ro,nodev,nosuid,noexec$(owner_options)" -- "$device" "$mount_point"; then
        fail 35 "The stick $device cannot be mounted." "see why: dmesg | tail; make it anew with FAT32, or use another stick"
    fi
    mounted_by_us=yes
    place=$mount_point
    say "The stick $device is mounted read-only."
}

# owner_options: FAT and its kin know no owners; what is on the stick belongs to the daemon's user.
owner_options() {
    case $(blkid -c /dev/null -o value -s TYPE -- "$device" 2>/dev/null) in
        vfat | exfat | ntfs) printf ',uid=%s,gid=%s,umask=022' "$(id -u appliance 2>/dev/null || id -u)" "$(id -g appliance 2>/dev/null || id -g)" ;;
        *) ;;
    esac
}

# allow_receipt: make the stick writable. Returns 1 if that is not possible; the update goes on without a receipt.
allow_receipt() {
    [ -n "$mounted_by_us" ] || return 0
    mount -o remount,rw -- "$mount_point" 2>/dev/null && return 0
    say "The stick cannot be written to (it may have a switch); the update goes on without a receipt on it."
    return 1
}

# put_stick_away: unmount what was mounted here. Called on every way out.
put_stick_away() {
    if [ -n "$mounted_by_us" ]; then
        mounted_by_us=
        for pause in 0 1 2 4; do
            sleep "$pause"
            umount -- "$mount_point" 2>/dev/null && break
        done
        if grep -q " $mount_point " /proc/self/mounts; then
            say "The stick is still in use: do NOT pull it out."
            say "Next: umount $mount_point"
            return
        fi
        say "The stick can be taken out."
    fi
    [ -z "$mount_point" ] || rmdir -- "$mount_point" 2>/dev/null || :
}
