#!/bin/bash
# Becomes a machine: this system's own systemd as process 1 of fresh namespaces, over an overlay of /.
#
#   enter_guest.sh DISK CGROUP NETWORK
#
# DISK/upper takes every change and outlives the machine, as a disk does; DISK/shared is /shared inside. NETWORK: "lo",
# or "lan" for an interface with an address and a default route that leads nowhere.
set -eu
disk=$1 cgroup=$2 network=$3
echo $$ > "$cgroup/cgroup.procs"

# shellcheck disable=SC2016  # it is expanded inside
setup='
set -eu
disk=$1 network=$2
root=$disk/root
mount -t overlay overlay -o "lowerdir=/,upperdir=$disk/upper,workdir=$disk/work" "$root"
cd "$root"
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,ro,bind proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755,nosuid,nodev tmpfs run
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs tmp
mount -t tmpfs -o mode=755,nosuid tmpfs dev
for node in null zero full random urandom tty; do
    : > "dev/$node"
    mount --bind "/dev/$node" "dev/$node"
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs dev/shm
mkdir -p shared
mount --bind "$disk/shared" shared
[ -s etc/machine-id ] || : > etc/machine-id
echo cabinet > etc/hostname
hostname cabinet
ip link set lo up
if [ "$network" = lan ]; then
    ip link add lan0 type veth peer name lan1
    ip link set lan1 up
    ip address add 192.168.77.2/24 dev lan0
    ip link set lan0 up
    ip route add default via 192.168.77.1
fi
mkdir -p mnt/host
pivot_root . mnt/host
cd /
umount -l /mnt/host
mount --make-rshared /
exec env -i container=cabinet PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --unit=multi-user.target
'
exec unshare --fork --kill-child=KILL --pid --mount --uts --ipc --net --cgroup --propagation private \
    -- bash -c "$setup" bash "$disk" "$network"
